"""`spectac`: the command line. Only the module of the chosen subcommand is imported.

Exit status: 0 all done, 1 some inputs failed (listed), 2 usage, 3 no input found, 4 environment, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from spectac_fast.commands._messages import messages
from spectac_fast.commands._names import check_names
from spectac_fast.commands._parser import COMMANDS, build_parser
from spectac_fast.errors import SpectacError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `spectac` with `argv` (default: the process's arguments) and return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
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
        print("spectac: interrupted", file=sys.stderr)
        return 130


def _said(error: SpectacError) -> int:
    print(f"spectac: {error}", file=sys.stderr)
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
