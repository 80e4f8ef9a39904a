"""Files that say they are one object: a study and its copies are kept apart, and none changes what another becomes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, TypeVar


class Instance(Protocol):
    """A file. instance: the SOP Instance UID that it has, "" where it has none."""

    @property
    def path(self) -> Path: ...

    @property
    def instance(self) -> str: ...


T = TypeVar("T", bound=Instance)


def without_copies(files: Sequence[T]) -> list[list[T]]:
    """The files of a study in groups, in none of which two have one SOP Instance UID; in their order.

    What lies together stays together: a copy in a folder of its own is a group of its own, and a single file that lies
    beside what it is a copy of is alone, the one with the longer name.
    """
    numbers = {id(file): number for number, file in enumerate(files)}
    groups = [sorted(group, key=lambda file: numbers[id(file)]) for group in _apart(files)]
    return sorted(groups, key=lambda group: numbers[id(group[0])])


def _apart(files: Sequence[T]) -> list[list[T]]:
    held = [file.instance for file in files if file.instance]
    if len(held) == len(set(held)):
        return [list(files)]
    root = os.path.commonpath([file.path for file in files])
    parts: dict[str, list[T]] = {}
    for file in files:
        parts.setdefault(os.path.relpath(file.path, root).partition(os.sep)[0], []).append(file)
    groups: list[list[T]] = []
    # The whole before its pieces.
    for name in sorted(parts, key=lambda name: (-len(parts[name]), len(name), name)):
        for piece in _apart(parts[name]):
            uids = {file.instance for file in piece} - {""}
            home = next((group for group in groups if uids.isdisjoint(file.instance for file in group)), None)
            if home is None:
                groups.append(piece)
            else:
                home += piece
    return groups
