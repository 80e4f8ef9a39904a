"""The code of a Markdown page, as a reader would run it."""

from __future__ import annotations

import re
from pathlib import Path

_SNIPPET = re.compile(r'^--8<-- "(.+)"$', re.MULTILINE)


def blocks(page: Path, root: Path) -> list[tuple[str, str]]:
    """(language, code) of every fenced block, in order; files that a block shows are put in its place."""
    found = re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [(language, _SNIPPET.sub(lambda m: (root / m[1]).read_text(), code)) for language, code in found]
