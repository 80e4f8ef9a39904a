"""`spectac export FILE --layout NAME -o OUT`: a weight file goes back to the layout its published code loads."""

from __future__ import annotations

import argparse

from spectac_fast.commands import _flags
from spectac_fast.errors import InputError, UsageError
from spectac_fast.outputs import Kind, Permit, appearing, mark_checkpoint
from spectac_fast.terminal import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spectac_fast.checkpoints import layouts

    _flags.add_inputs(parser, "weight file of this package (.safetensors)", metavar="FILE", most=1, are="checked")
    parser.add_argument("--layout", required=True, metavar="NAME", help=f"one of {', '.join(layouts.names())}")
    _flags.add_output(parser, "checkpoint to write, as torch.save does (.pth)", folder=False)
    _flags.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    file = _flags.the_file(args, "the weight file")
    import torch

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
        torch.save(content, part)
        mark_checkpoint(part)
    say(f"{header['model']}: {len(tensors)} tensors in layout {args.layout}; written to {args.out}")
    return 0
