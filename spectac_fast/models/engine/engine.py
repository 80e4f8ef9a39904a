"""A network made ready to run: what a table and a condition determine is computed once, the rest in fewer passes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spectac_fast.models.engine.blocks import Body, Film
from spectac_fast.models.engine.convolution import Convolution
from spectac_fast.models.facts import split_facts
from spectac_fast.models.networks.attenuation import AttenuationHead
from spectac_fast.models.networks.folded_unet import FoldedUNet
from spectac_fast.models.networks.unet import UNetModel, timestep_embedding

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
# Tables of FiLM vectors kept: a model's defaults and the few options that are used in turn.
_TABLES = 4
# What models call their network: itself one, pixel and latent bridges and diffusions, latent diffusion.
_NAMES = ("", "denoise_fn", "model.diffusion_model")


def engine(model: Any, dtype: torch.dtype = torch.float32, device: str | torch.device | None = None) -> Engine:
    """A network for inference: the same function, faster; see `Engine`.

    model:  a `UNetModel` or `FoldedUNet`, an `AttenuationHead` or a model around one (BBDM, LatentBBDM, CPDM, DDPM,
            LatentDiffusion, ...), or a translator of such a model.
    dtype:  of the network's body: torch.float32, bfloat16 or float16.
    device: to run on; None means where the network is.

    Raises TypeError for a model without such a network, ValueError for another dtype.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be torch.float32, bfloat16 or float16, found {dtype}.")
    network, head = _network_of(model)
    where = next(network.parameters()).device if device is None else torch.device(device)
    return Engine(network, dtype, where, head)


def _network_of(model: Any) -> tuple[UNetModel | FoldedUNet, AttenuationHead | None]:
    module = model if isinstance(model, nn.Module) else getattr(model, "model", None)
    parts = dict(module.named_modules()) if isinstance(module, nn.Module) else {}
    for name in _NAMES:
        found = parts.get(name)
        head = found if isinstance(found, AttenuationHead) else None
        network = found if head is None else head.network
        if isinstance(network, (UNetModel, FoldedUNet)):
            return network, head
    raise TypeError(f"model must hold a UNetModel or a FoldedUNet, found {type(model).__name__}.")


class Engine:
    """A `UNetModel` or `FoldedUNet` for inference, with what an `AttenuationHead` makes of it; made by `engine`.

    A network as published computes for every slice at every step the timestep's embedding and, from it, each block's
    FiLM vectors; the share of the first convolution that sees only the condition; and normalisation, FiLM, activation
    in a pass each. `prepare` does the first two once per table and condition, and the others are one pass. A folded
    network's last convolution runs on its blocks, so that no image of features is ever unfolded.

    Weights are read when it is made: later changes of the network do not reach it. dtype is of the body between first
    and last convolution; inputs, FiLM vectors, statistics and output are float32. Nothing has a gradient.
    """

    def __init__(
        self,
        network: UNetModel | FoldedUNet,
        dtype: torch.dtype,
        device: torch.device,
        attenuation: AttenuationHead | None = None,
    ) -> None:
        self.dtype, self.device, self._attenuation = dtype, device, attenuation
        self.in_channels, self.out_channels = network.in_channels, (attenuation or network).out_channels
        self.multiple = network.multiple
        self.fold = 2 if isinstance(network, FoldedUNet) else 1
        body = network.body if self.fold == 2 else network
        self._facts = len(network.facts) if isinstance(network, FoldedUNet) else 0
        self._embedding_channels = body.model_channels
        self._film, self._body = Film(body, device), Body(body, dtype, device)
        self._last = Convolution(body.out[-1].weight, body.out[-1].bias, dtype, device)
        self._stem = _Split(body.input_blocks[0][0].weight, body.input_blocks[0][0].bias, dtype, device)
        self._head: _Split | None = None
        if self.fold == 2:
            head, features = network.head, network.head.in_channels - 2
            self._features = Convolution(_folded(head.weight[:, :features]), None, dtype, device)
            self._head = _Split(_folded(head.weight[:, features:]), head.bias.repeat_interleave(4), dtype, device)
        self._tables: OrderedDict[tuple[int, ...], tuple[Tensor, Tensor, Tensor]] = OrderedDict()

    def __call__(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        """What the network returns for the same arguments, as float32.

        x: float32 [B, C, H, W]. t: int64 [B], or float32 levels for a network that takes those. context: float32
        [B, C', H, W] or None.
        """
        with self._inference():
            seen, facts = self._split(context)
            embedded = self._embedded(t)
            if facts is not None:
                embedded = embedded + self._film.facts(facts)
            return self._finish(self._run(x, self._film(embedded), self._hold(seen)), x, t, context)

    def prepare(self, context: Tensor | None, timesteps: Sequence[int]) -> Callable[..., Tensor]:
        """(x, t, anything) -> prediction, for the slices of one context and a table's timesteps.

        The timestep must be the same for the whole batch and one of `timesteps`, or ValueError is raised; that is only
        looked at on the CPU, because looking stops any other device. A network without a context ignores one.
        """
        with self._inference():
            seen, facts = self._split(context if self.in_channels != self.out_channels else None)
            embedded, film, rows = self._table(tuple(timesteps))
            film = film[:, None]
            if facts is not None:
                film = self._film(embedded[:, None] + self._film.facts(facts))
            held = self._hold(seen)

        def denoise(x: Tensor, t: Tensor, _: Any = None) -> Tensor:
            if t.device.type == "cpu" and not (int(t[0]) in timesteps and (t == t[0]).all()):
                raise ValueError(f"t must be one of the table's timesteps for the whole batch, found {t.tolist()}.")
            with self._inference():
                own = film.index_select(0, rows.index_select(0, t[:1]))
                return self._finish(self._run(x, own[0].expand(len(x), -1), held), x, t, context)

        return denoise

    def _split(self, context: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
        """(images, facts) of a context, None for what there is none of."""
        others = self.in_channels - self._facts - 1
        return (None, None) if context is None else split_facts(context, self._facts, others)

    def _finish(self, raw: Tensor, x: Tensor, t: Tensor, context: Tensor | None) -> Tensor:
        return raw if self._attenuation is None else self._attenuation.finish(raw, x, t, context)

    @contextmanager
    def _inference(self) -> Iterator[None]:
        # The body has its dtype from the start; autocast would also round what is to stay float32.
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            yield

    def _embedded(self, t: Tensor) -> Tensor:
        return self._film.timesteps(timestep_embedding(t, self._embedding_channels))

    def _table(self, timesteps: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """(embedded timesteps float32 [N, E], FiLM vectors of them alone [N, F], row of every timestep int64 [T])."""
        if timesteps not in self._tables:
            rows = torch.zeros(max(timesteps) + 1, dtype=torch.int64)
            rows[list(timesteps)] = torch.arange(len(timesteps))
            t = torch.tensor(timesteps, device=self.device)
            embedded = self._embedded(t)
            self._tables[timesteps] = embedded, self._film(embedded), rows.to(self.device)
            if len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        self._tables.move_to_end(timesteps)
        return self._tables[timesteps]

    def _hold(self, context: Tensor | None) -> list[tuple[Convolution, Tensor | None]]:
        """Stem and head, each as the convolution of the state and what to add to it."""
        if context is None:
            return [part.of(None) for part in self._parts()]
        blocks = self._blocks(context)
        # The head sees the condition and none of its neighbours.
        return [self._stem.of(blocks), *(part.of(blocks[:, :4]) for part in self._parts()[1:])]

    def _parts(self) -> list[_Split]:
        return [self._stem] if self._head is None else [self._stem, self._head]

    def _blocks(self, images: Tensor) -> Tensor:
        if self.fold > 1:
            images = F.pixel_unshuffle(images, self.fold)
        return images.to(self.dtype, memory_format=torch.channels_last)

    def _run(self, x: Tensor, film: Tensor, held: list[tuple[Convolution, Tensor | None]]) -> Tensor:
        blocks = self._blocks(x)
        sums = [conv(blocks) if fixed is None else conv(blocks).add_(fixed) for conv, fixed in held]
        out = self._last(self._body(sums[0], film))
        if self._head is not None:
            out = F.pixel_shuffle(self._features(out).add_(sums[1]), self.fold)
        return out.to(torch.float32, memory_format=torch.contiguous_format)


class _Split:
    """A convolution of state and context side by side, as the sum of one of each."""

    def __init__(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, device: torch.device) -> None:
        self._weight, self._bias, self._made = weight.detach(), bias.detach(), (dtype, device)
        self._pairs: dict[int, tuple[Convolution, Convolution]] = {}
        self._whole = Convolution(self._weight, self._bias, dtype, device)

    def of(self, context: Tensor | None) -> tuple[Convolution, Tensor | None]:
        """(convolution of the state, what to add to it)."""
        if context is None:
            return self._whole, None
        own = self._weight.shape[1] - context.shape[1]
        if own not in self._pairs:
            state, rest = self._weight.tensor_split([own], dim=1)
            self._pairs[own] = Convolution(state, None, *self._made), Convolution(rest, self._bias, *self._made)
        state, rest = self._pairs[own]
        return state, rest(context)


def _folded(weight: Tensor) -> Tensor:
    """The 3x3 kernels [O, C, 3, 3] of a convolution of pixels, as those of one of 2x2 blocks, [4 O, 4 C, 3, 3].

    Channels are in the order of `pixel_unshuffle`; borders of zeros stay what they are.
    """
    outputs, inputs = weight.shape[:2]
    # [O, row and column in the block, C, row and column in the block, kernel]
    folded = weight.new_zeros(outputs, 2, 2, inputs, 2, 2, 3, 3)
    for row in range(2):
        for column in range(2):
            for u in range(3):
                for v in range(3):
                    down, right = row + u + 1, column + v + 1
                    folded[:, row, column, :, down % 2, right % 2, down // 2, right // 2] = weight[:, :, u, v]
    return folded.reshape(4 * outputs, 4 * inputs, 3, 3)
