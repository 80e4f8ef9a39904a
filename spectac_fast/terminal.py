"""What reaches a terminal or a log: one printable line a sentence, on streams that may be closed, full or broken.

File names come from anywhere and may hold whatever a terminal obeys; a stream that takes nothing more must not stop the
work, nor change what it is said to have come to.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_STANDARD = (0, 1, 2)


def visible(text: object) -> str:
    """`text` in one line of characters that show themselves; others, such as line ends and escapes, as Python would
    write them. What is visible already stays as it is.
    """
    return "".join(each if each.isprintable() else _escaped(each) for each in str(text))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def say(*sentences: object) -> None:
    """Print each as one line."""
    for sentence in sentences:
        print(visible(sentence))


def warn(*sentences: object) -> None:
    """Print each as one line on stderr."""
    for sentence in sentences:
        print(visible(sentence), file=sys.stderr)


def log_to_stderr(line: str, level: int = logging.WARNING) -> None:
    """Log from `level` on, every entry a line such as `line` (a format of `logging`), unless something logs already."""
    if logging.root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(line))
    logging.root.addHandler(handler)
    logging.root.setLevel(level)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))


class _Nowhere(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


class _Lasting:
    """A text stream that goes on when nobody takes what is written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            self._stream.write(text)
        except UnicodeEncodeError:
            self._stream.write(text.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            self._give_up()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._give_up()

    def _give_up(self) -> None:
        """Let what is still held back, and all that follows, go nowhere."""
        try:
            number = self._stream.fileno()
        except (OSError, ValueError):
            self._stream = _Nowhere()
            return
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, number)
        os.close(null)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Within, stdout and stderr take whatever is written, also where they were closed, are full or have no reader."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_Lasting(_Nowhere() if each is None else each) for each in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


@contextmanager
def own_process() -> Iterator[None]:
    """For a process that is a command and nothing else: no file gets the number of a stream that was closed, and what
    libraries warn of, quoting values of files, is left out unless PYTHONWARNINGS or -W ask for it.
    """
    with ExitStack() as undo:
        for number in _STANDARD:
            try:
                os.fstat(number)
            except OSError:
                # The lowest free number is the one that is missing, since those below were looked at before.
                os.open(os.devnull, os.O_RDWR)
        if not sys.warnoptions:
            undo.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        yield
