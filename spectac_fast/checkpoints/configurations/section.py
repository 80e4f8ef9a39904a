"""One mapping of a configuration, of which every entry is either taken, known not to matter, or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

_REQUIRED = object()


class Section:
    """The entries under a dotted name. source: begins every sentence, such as "the configuration f8.yaml"."""

    def __init__(self, published: Mapping[str, Any], name: str, source: str) -> None:
        self.name, self.source = name, source
        found = looked_up(published, name)
        if not isinstance(found, Mapping):
            raise InputError(f"{source}: expected the section {name}, found none; is it of another project?")
        self._left = dict(found)

    def take(self, key: str, default: Any = _REQUIRED, kind: type | tuple[type, ...] | None = None) -> Any:
        """An entry's value; InputError where it is missing and has no default, or is of another kind."""
        value = self._left.pop(key, default)
        if value is _REQUIRED:
            raise InputError(f"{self.source}: expected {self.name}.{key}, found no such option")
        if kind is not None and value is not None and not isinstance(value, kind):
            raise InputError(f"{self.source}: {self.name}.{key} is {value!r}, which is none of its values")
        return value

    def only(self, key: str, *allowed: Any, without: str) -> None:
        """InputError unless an entry is missing or has one of these values. without: what this package has not."""
        if key in self._left and (value := self._left.pop(key)) not in allowed:
            raise InputError(f"{self.source}: {self.name}.{key} is {value!r}, and there is no {without} here")

    def ignore(self, *keys: str) -> None:
        """Entries that change nothing of what a trained network computes."""
        for key in keys:
            self._left.pop(key, None)

    def done(self) -> None:
        """InputError for the first entry that nobody took."""
        for key, value in self._left.items():
            raise InputError(
                f"{self.source}: {self.name}.{key} is {value!r}, an option that this package does not know and so "
                "cannot keep to"
            )


def square(size: Any) -> list[int] | None:
    """[rows, columns] of a published image size, a number or a pair; None for anything else."""
    if isinstance(size, int):
        return [size, size]
    return [int(length) for length in size] if isinstance(size, (list, tuple)) and len(size) == 2 else None
