"""`python -m bench <name> ...` runs one measurement: a module of a folder here with add_arguments and run."""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from pathlib import Path

from bench.outputs import allow
from spectac_fast.errors import SpectacError

FOLDER = Path(__file__).parent


def commands() -> dict[str, tuple[str, str]]:
    """Name of each measurement -> (its module, the first line of its page), without importing any."""
    found = {}
    for path in sorted(FOLDER.rglob("*.py")):
        tree = ast.parse(path.read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        if {"add_arguments", "run"} <= functions:
            module = ".".join(["bench", *path.relative_to(FOLDER).with_suffix("").parts])
            found[path.stem] = module, (ast.get_docstring(tree) or "").partition("\n")[0]
    return dict(sorted(found.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    subcommands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    known = commands()
    chosen = next((word for word in sys.argv[1:] if word in known), None)
    for name, (module, text) in known.items():
        command = subcommands.add_parser(name, help=text.replace("%", "%%"), description=text.replace("%", "%%"))
        if name == chosen:
            imported = importlib.import_module(module)
            imported.add_arguments(command)
            command.add_argument("--overwrite", action="store_true", help="replace files of any origin, too")
            command.set_defaults(run=imported.run)
    args = parser.parse_args()
    allow(args.overwrite)
    try:
        return args.run(args)
    except SpectacError as error:
        print(f"bench {args.name}: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
