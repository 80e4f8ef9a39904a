"""Formulas of the pages, $...$ and $$...$$ as GitHub sets them, as MathML for the site."""

from __future__ import annotations

import re
from collections.abc import Iterator

_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_FORMULA = re.compile(
    r"^\$\$\n(?P<block>.+?)\n\$\$$|(?<![\w$])\$(?P<inline>[^$\n]+)\$(?![\w$])", re.MULTILINE | re.DOTALL
)


def formulas_in(markdown: str) -> Iterator[str]:
    """Every formula of a page, in LaTeX."""
    for prose in _CODE.split(markdown)[::2]:
        for found in _FORMULA.finditer(prose):
            yield found["block"] or found["inline"]


def typeset(markdown: str) -> str:
    """The page with its formulas as MathML; code is left as it is. Needs latex2mathml (extra: docs)."""
    parts = _CODE.split(markdown)
    parts[::2] = [_FORMULA.sub(_set, prose) for prose in parts[::2]]
    return "".join(parts)


def _set(found: re.Match[str]) -> str:
    from latex2mathml.converter import convert

    if found["block"]:
        return f"<div>{convert(found['block'], display='block')}</div>"
    # At the beginning of a line <math> would begin a block.
    return f"<span>{convert(found['inline'])}</span>"
