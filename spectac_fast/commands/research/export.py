"""`spectac export FILE --layout NAME -o OUT`: a weight file goes back to the layout its published code loads."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path
from typing import Any

from spectac_fast._version import __version__
from spectac_fast.commands import _flags
from spectac_fast.errors import InputError, UsageError
from spectac_fast.outputs import PROGRAM, Kind, Permit, appearing
from spectac_fast.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spectac_fast.checkpoints import layouts

    _flags.add_inputs(parser, "weight file of this package (.safetensors)", metavar="FILE", most=1, are="checked")
    parser.add_argument("--layout", required=True, metavar="NAME", help=f"one of {', '.join(layouts.names())}")
    _flags.add_output(parser, "checkpoint to write, as torch.save does (.pth)", folder=False)
    _flags.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    file = _flags.the_file(args, "the weight file")
    from spectac_fast.checkpoints import layouts
    from spectac_fast.checkpoints.weights import load_weights
    from spectac_fast.models.registry import load

    layout = layouts.layout(args.layout)
    Permit((file,), args.overwrite).check(args.out, Kind.CHECKPOINT)
    if not args.out.parent.is_dir():
        raise UsageError(f"-o {args.out}: the folder {args.out.parent} does not exist")
    try:
        load(file, device="cpu")
        tensors, header = load_weights(file)
        if header["model"] not in layout.MODELS:
            raise InputError(
                f"the weight file {file} holds a model {header['model']!r}, which layout {args.layout} is not for "
                f"(expected {' or '.join(layout.MODELS)})"
            )
        if header["config"].get("network", {}).get("attenuation_paths"):
            raise InputError(f"the weight file {file} has an attenuation factor, which no published layout knows")
        content = layout.write(tensors, header["config"])
    except InputError as error:
        raise UsageError(str(error)) from error
    with appearing(args.out) as part:
        _save(content, part)
    say(f"{header['model']}: {len(tensors)} tensors in layout {args.layout}; written to {args.out}")
    return 0


def _save(content: Any, path: Path) -> None:
    """As torch.save, and a record that says whose the file is, of which torch.load takes no notice."""
    import torch

    torch.save(content, path)
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].partition("/")[0]
        archive.writestr(zipfile.ZipInfo(f"{folder}/{PROGRAM}"), __version__)
