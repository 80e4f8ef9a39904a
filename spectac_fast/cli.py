"""`spectac`: the command line. Only the module of the chosen subcommand is imported.

Exit status: 0 all done, 1 some inputs failed (listed), 2 usage, 3 no input found, 4 environment, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from spectac_fast.commands._messages import messages
from spectac_fast.commands._names import check_names
from spectac_fast.commands._parser import COMMANDS, build_parser
from spectac_fast.errors import SetupError, SpectacError
from spectac_fast.terminal import lasting_streams, own_process, warn

_SHORT = {
    # Libraries that get no memory may fail without saying why, which Python calls an error of its own.
    "memory": ("out of memory", "allocate memory", "failed to map segment", "without setting an exception"),
    "threads": ("start new thread", "resource temporarily unavailable"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `spectac` with `argv` (default: the process's arguments) and return the exit status."""
    with ExitStack() as within:
        if argv is None:
            within.enter_context(own_process())
        within.enter_context(lasting_streams())
        return _run(list(sys.argv[1:] if argv is None else argv))


def _run(arguments: Sequence[str]) -> int:
    chosen = next((word for word in arguments if word in COMMANDS), None)
    args = build_parser(chosen).parse_args(arguments)
    try:
        with messages(args):
            return _carry_out(args)
    except SpectacError as error:
        return _said(error)


def _carry_out(args: argparse.Namespace) -> int:
    try:
        check_names(args.parser, args)
        return args.run(args)
    except SpectacError as error:
        return _said(error)
    except KeyboardInterrupt:
        warn("spectac: interrupted")
        return 130
    except (MemoryError, RuntimeError, ImportError, OSError, SystemError) as error:
        short = "memory" if isinstance(error, MemoryError) else _short_of(str(error).lower())
        if not short:
            raise
        return _said(SetupError(f"expected enough {short} for this, found that the system gives no more."))


def _short_of(said: str) -> str:
    """What an error of Python, of torch or of the loader of libraries says there is too little of; "" of nothing."""
    return next((what for what, words in _SHORT.items() if any(each in said for each in words)), "")


def _said(error: SpectacError) -> int:
    warn(f"spectac: {error}")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
