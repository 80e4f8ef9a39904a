"""An engine that keeps what a sampler gives it."""

from __future__ import annotations


class Watched:
    """Takes the place of a translator's `engine`; contexts: of `prepare`, steps: (x, t) of every evaluation."""

    def __init__(self, translator):
        self.engine, self.contexts, self.steps = translator.engine, [], []
        translator.engines[self.engine.dtype] = self

    def prepare(self, context, timesteps):
        self.contexts.append(context)
        step = self.engine.prepare(context, timesteps)

        def watched(x, t, *rest):
            self.steps.append((x.clone(), int(t[0])))
            return step(x, t, *rest)

        return watched
