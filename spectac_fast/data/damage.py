"""Readers of foreign files raise many things; a person is told one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spectac_fast.errors import InputError, SpectacError


@contextmanager
def damaged(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a damaged file makes a reader raise into an InputError that names it and the kind expected."""
    try:
        yield
    except SpectacError:
        raise
    except Exception as error:
        raise InputError(
            f"{path}: expected a {kind} file, found damage or something else ({type(error).__name__})."
        ) from None
