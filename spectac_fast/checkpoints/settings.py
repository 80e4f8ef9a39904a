"""The configuration of an imported checkpoint, and where each of its values is from."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from spectac_fast.errors import InputError, UsageError

TENSORS, CONFIGURATION, COMMAND, ASSUMED = "tensors", "configuration", "command", "assumed"
# Two numbers that a schedule kept in half precision cannot tell apart.
_SAME = 1e-3


class Settings:
    """Values under dotted names, as `--set` knows them; what is said later and better replaces what was assumed.

    config: nested, as a weight file holds it. assumed: {name: why nobody can know it}, of values that the tensors do
    not tell; all others are the tensors' own, and what contradicts those is refused.
    """

    def __init__(self, config: Mapping[str, Any], assumed: Mapping[str, str]) -> None:
        self.config: dict[str, Any] = copy.deepcopy(dict(config))
        self.reasons = {name: why for name, why in assumed.items() if name in names(self.config)}

        self.origin = {name: ASSUMED if name in self.reasons else TENSORS for name in names(self.config)}

    def assume(self, values: Mapping[str, Any], why: str) -> None:
        """Further values that nobody has said."""
        for name, value in values.items():
            self._place(name, value, ASSUMED)
            self.reasons[name] = why

    def configure(self, values: Mapping[str, Any], source: str) -> None:
        """What a configuration beside the checkpoint says (configurations/).

        Raises InputError where it contradicts the tensors.
        """
        for name, value in values.items():
            if self.origin.get(name) == TENSORS:
                found = looked_up(self.config, name)
                if not _same(found, value):
                    raise InputError(
                        f"{source} says {name} {json.dumps(value)}, but the checkpoint's tensors {json.dumps(found)}; "
                        "it belongs to another checkpoint"
                    )
            self._place(name, value, CONFIGURATION)

    def command(self, name: str, value: Any) -> None:
        """What the user says. UsageError for a name that there is not."""
        outer = name.rpartition(".")[0]
        place = looked_up(self.config, outer) if outer else self.config
        if not isinstance(place, dict) or name.rpartition(".")[2] not in place:
            known = ", ".join(names(self.config))
            raise UsageError(f"--set {name}={json.dumps(value)}: expected NAME=VALUE with a NAME among {known}")
        self._place(name, value, COMMAND)

    def follow(self, values: Mapping[str, Any]) -> None:
        """Assumed values that follow from others; what was said stays."""
        for name, value in values.items():
            if self.origin.get(name) == ASSUMED:
                self._place(name, value, ASSUMED)

    def by_origin(self) -> dict[str, list[str]]:
        """{origin: names}, in the order of the configuration."""
        found: dict[str, list[str]] = {}
        for name in names(self.config):
            found.setdefault(self.origin[name], []).append(name)
        return found

    def said(self, name: str) -> str:
        """`NAME=VALUE`, as `--set` takes it."""
        return f"{name}={json.dumps(looked_up(self.config, name))}"

    def assumptions(self) -> Iterator[str]:
        """What is still assumed and why, a sentence for each reason."""
        reasons: dict[str, list[str]] = {}
        for name in self.by_origin().get(ASSUMED, []):
            reasons.setdefault(self.reasons[name], []).append(self.said(name))
        for why, what in reasons.items():
            yield f"assumed {', '.join(what)}: {why}"

    def _place(self, name: str, value: Any, origin: str) -> None:
        *outer, last = name.split(".")
        place = self.config
        for key in outer:
            if not isinstance(place.get(key), dict):
                place[key] = {}
            place = place[key]
        place[last] = copy.deepcopy(value)
        inside = [known for known in self.origin if known == name or known.startswith(f"{name}.")]
        for known in inside:
            del self.origin[known]
        for part in _of(value, name):
            self.origin[part] = origin
        # A name whose value was a plain one is no name any more once something lies inside it.
        for depth in range(len(outer)):
            self.origin.pop(".".join(outer[: depth + 1]), None)


def names(config: Mapping[str, Any]) -> list[str]:
    """Every dotted name of a nested configuration, in its order."""
    return [name for key, value in config.items() for name in _of(value, key)]


def named(config: Mapping[str, Any]) -> dict[str, Any]:
    """{dotted name: value} of a nested configuration, in its order."""
    return {name: looked_up(config, name) for name in names(config)}


def looked_up(config: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """The value under a dotted name, or the default where there is none."""
    found: Any = config
    for key in name.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return default if found is None else found


def _of(value: Any, name: str) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, inside in value.items():
            yield from _of(inside, f"{name}.{key}")
    else:
        yield name


def _same(found: Any, said: Any) -> bool:
    if isinstance(said, Mapping) or isinstance(found, Mapping):
        both = isinstance(said, Mapping) and isinstance(found, Mapping) and said.keys() == found.keys()
        return both and all(_same(found[key], said[key]) for key in said)
    numbers = all(isinstance(value, (int, float)) for value in (found, said))
    return math.isclose(found, said, rel_tol=_SAME) if numbers else found == said
