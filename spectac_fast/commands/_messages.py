"""What a command says beside its results, and where: `-v`, `-q` and `--log-file`, which every command has."""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from spectac_fast._version import __version__
from spectac_fast.errors import SetupError
from spectac_fast.outputs import is_manifest
from spectac_fast.terminal import log_to_stderr

_log = logging.getLogger(__name__)


def add_messages(parser: argparse.ArgumentParser) -> None:
    """`-v`, `-q` and `--log-file`."""
    group = parser.add_argument_group("messages")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="store_true", help="also say, on stderr, what is being done")
    loud.add_argument(
        "-q", "--quiet", action="store_true", help="neither progress nor results: only warnings and what failed"
    )
    group.add_argument(
        "--log-file", type=Path, metavar="FILE", help="append all that is said, and when, whatever -v and -q are"
    )


def style_of(args: argparse.Namespace) -> str:
    """How progress is shown, for `Progress`."""
    return "off" if args.quiet else getattr(args, "progress", "auto")


@contextmanager
def starting(args: argparse.Namespace) -> Iterator[None]:
    """A word on a terminal while torch and a model are loaded, which takes seconds; it goes when they are there."""
    word = "starting ..."
    shown = sys.stderr.isatty() and style_of(args) == "auto"
    if shown:
        sys.stderr.write(word)
        sys.stderr.flush()
    try:
        yield
    finally:
        if shown:
            sys.stderr.write(f"\r{' ' * len(word)}\r")
            sys.stderr.flush()


@contextmanager
def messages(args: argparse.Namespace) -> Iterator[None]:
    """Warnings, what is printed and how the command ends go where `args` say; SetupError for no such file."""
    logger = logging.getLogger("spectac_fast")
    before, started = logger.level, time.monotonic()
    # The node says when; its messages are a log already.
    form = "%(asctime)s spectac: %(message)s" if args.command == "serve" else "spectac: %(message)s"
    log_to_stderr(form)
    logger.setLevel(logging.INFO if args.verbose or args.command == "serve" else logging.WARNING)
    with contextlib.ExitStack() as stack:
        stack.callback(logger.setLevel, before)
        if args.quiet:
            stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        # After what makes it quiet, since the file has everything.
        if args.log_file:
            stack.enter_context(_copied(args.log_file, logger))
        where = f"Python {platform.python_version()}, process {os.getpid()}"
        _log.info("%s begins: spectac_fast %s, %s", args.command, __version__, where)
        yield
        _log.info("%s ends after %.1f s", args.command, time.monotonic() - started)


@contextmanager
def _copied(path: Path, logger: logging.Logger) -> Iterator[None]:
    """Records of every level and lines of both streams are appended to a file too; the terminal gets what it did."""
    try:
        if is_manifest(path) or (path.is_file() and path.stat().st_size and not _is_log(path)):
            raise SetupError(f"--log-file {path}: expected a log of this program or a new name, found another file")
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        raise SetupError(f"--log-file {path}: cannot be written ({error.strerror or type(error).__name__})") from None
    with file:
        records = logging.StreamHandler(file)
        records.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        shown = logger.level
        handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
        levels = [handler.level for handler in handlers]
        for handler in handlers:
            handler.setLevel(max(handler.level, shown))
        logging.getLogger().addHandler(records)
        logger.setLevel(logging.DEBUG)
        streams = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (_Copy(stream, file) for stream in streams)
        try:
            yield
        finally:
            sys.stdout, sys.stderr = streams
            logging.getLogger().removeHandler(records)
            for handler, level in zip(handlers, levels):
                handler.setLevel(level)


def _is_log(path: Path) -> bool:
    """Whether a file begins with a time, as logs of this program do."""
    with path.open("rb") as file:
        return re.fullmatch(rb"\d{4}-\d\d-\d\d \d\d:", file.read(14)) is not None


class _Copy:
    """A stream whose whole lines are also appended to a file, with the time; a line that redraws itself is not."""

    def __init__(self, stream: TextIO, file: TextIO) -> None:
        self._stream, self._file, self._begun = stream, file, ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        self._stream.write(text)
        *lines, self._begun = (self._begun + text).split("\n")
        for line in lines:
            if line.strip() and not line.startswith("\r"):
                self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()
        self._file.flush()
