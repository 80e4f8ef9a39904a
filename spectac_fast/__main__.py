"""`python -m spectac_fast`: which operators run on which back end, or why not; with arguments, the command line."""

from __future__ import annotations

import sys


def main() -> int:
    if len(sys.argv) > 1:
        from spectac_fast import cli

        return cli.main(sys.argv[1:])
    from spectac_fast.ops.availability import availability
    from spectac_fast.terminal import lasting_streams

    with lasting_streams():
        print(availability())
    return 0


if __name__ == "__main__":
    sys.exit(main())
