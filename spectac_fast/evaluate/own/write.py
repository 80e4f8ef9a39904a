"""The statement on disk: the page, the text, and the list of files, which alone holds their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectac_fast.cohort.own.studies import StudyPairs
from spectac_fast.evaluate.own.page import page
from spectac_fast.evaluate.own.seen import Seen
from spectac_fast.evaluate.own.text import text
from spectac_fast.outputs import appearing


def write_statement(said: Mapping[str, Any], seen: Sequence[Seen], studies: StudyPairs, folder: Path) -> list[Path]:
    """Write statement.html, statement.md and matching.csv, each by atomic rename; the folder must exist.

    said: of `statement.statement` on `seen`.
    """
    paths = []
    for name, content in (("statement.html", page(said, seen)), ("statement.md", text(said))):
        paths.append(folder / name)
        with appearing(paths[-1]) as part:
            part.write_text(content, encoding="utf-8")
    paths.append(folder / "matching.csv")
    studies.write_listing(paths[-1])
    return paths
