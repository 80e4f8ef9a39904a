"""The docstrings of this package for mkdocstrings: `name: meaning` lines about arguments become lists."""

from __future__ import annotations

import re
from typing import Any

import griffe

# At the start of a line, or after a full stop: in short docstrings one entry follows another.
_ENTRY = re.compile(r"(?:^|(?<=[.;] ))(\w+(?:, \w+)*):\s+", re.MULTILINE)


class HouseDocstrings(griffe.Extension):
    """Turns argument lists into Markdown lists, where the names are those of arguments, fields or attributes."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = listed(obj.docstring.value, _names(obj))


def listed(text: str, names: set[str]) -> str:
    """The docstring with every paragraph that begins with `name: ...` for known names as a list."""
    return "\n\n".join(_paragraph(part, names) for part in re.split(r"\n\s*\n", text))


def _paragraph(text: str, names: set[str]) -> str:
    entries = [match for match in _ENTRY.finditer(text) if set(match[1].split(", ")) <= names]
    if not entries or entries[0].start():
        return text
    ends = [*(match.start() for match in entries[1:]), len(text)]
    return "\n".join(
        f"- **{match[1]}**: {' '.join(text[match.end() : end].split())}" for match, end in zip(entries, ends)
    )


def _names(obj: griffe.Object) -> set[str]:
    """Names that a docstring of this object may explain."""
    if obj.is_function:
        return {parameter.name.lstrip("*") for parameter in obj.parameters}
    names = set(obj.members)
    for scope in (obj.members.get("__init__"), obj.members.get("__call__")):
        if scope is not None and scope.is_function:
            names |= {parameter.name.lstrip("*") for parameter in scope.parameters}
    return names
