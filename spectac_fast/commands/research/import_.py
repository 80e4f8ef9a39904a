"""`spectac import FILE --layout NAME [--config FILE] -o OUT`: a published checkpoint becomes a weight file.

What the tensors do not tell is said by the configuration beside them or by the command; what nobody says is assumed,
and every assumption is printed with its reason and stored in the file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.errors import InputError, UsageError
from spectac_fast.outputs import Kind, Permit
from spectac_fast.terminal import say, warn

if TYPE_CHECKING:
    from spectac_fast.checkpoints.layouts import Imported
    from spectac_fast.checkpoints.settings import Settings

_PIXEL_MM = 6.8
_FROM = {
    "tensors": "from its tensors",
    "configuration": "from the configuration",
    "command": "from the command",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spectac_fast.checkpoints import layouts

    _flags.add_inputs(
        parser, "published checkpoint (.pth, .pt, .ckpt, .safetensors)", metavar="FILE", most=1, are="checked"
    )
    parser.add_argument("--layout", required=True, metavar="NAME", help=f"whose it is: {', '.join(layouts.names())}")
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="insist on the averaged weights, or take the raw ones (default: averaged where the file holds them)",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="what the published runner keeps beside the checkpoint, and says what no tensor tells: YAML of BBDM, "
        "CPDM, latent diffusion, taming-transformers, UNIT or Reg-GAN, Palette's JSON, CycleGAN's train_opt.txt",
    )
    _flags.add_settings(parser, "what the file cannot tell, over all else; dots lead inside: bridge.objective=noise")
    for flag, help in (
        ("--pixel-mm", "pixel size of the slices it was trained on"),
        ("--slice-mm", "distance of those slices"),
    ):
        parser.add_argument(flag, type=_flags.positive_float, metavar="MM", help=f"{help} (default: {_PIXEL_MM})")
    parser.add_argument(
        "--gain",
        type=_flags.positive_float,
        metavar="G",
        help="AC/NC gain of the left ventricle in the training data (default: that of the shipped models)",
    )
    parser.add_argument(
        "--size",
        type=_flags.positive_int,
        nargs=2,
        metavar=("ROWS", "COLUMNS"),
        help="size of the images it was trained on (default: the layout's, else 64 64)",
    )
    parser.add_argument(
        "--fit", choices=("pad", "resize"), help="how other slices get to that size (default: the layout's, else pad)"
    )
    _flags.add_output(parser, "weight file to write (.safetensors)", folder=False)
    _flags.add_overwrite(parser)


def run(args: argparse.Namespace) -> int:
    if args.out.suffix != ".safetensors":
        raise UsageError(f"-o must name a .safetensors file, found {args.out}")
    if not args.out.parent.is_dir():
        raise UsageError(f"-o {args.out}: the folder {args.out.parent} does not exist")
    file = _flags.the_file(args, "the checkpoint")
    Permit((file, *filter(None, [args.config])), args.overwrite).check(args.out, Kind.WEIGHTS)
    try:
        return _import(file, args)
    except InputError as error:
        raise UsageError(str(error)) from error


def _import(file: Path, args: argparse.Namespace) -> int:
    import hashlib
    import os

    from spectac_fast.checkpoints import layouts
    from spectac_fast.checkpoints.pickles import read_checkpoint
    from spectac_fast.checkpoints.weights import save_weights
    from spectac_fast.models.published import check_runs, read_published
    from spectac_fast.models.registry import load

    source = f"the checkpoint {file}"
    state, averaged = layouts.flat_state(read_checkpoint(file), args.ema, source)
    found = read_published(args.layout, state, source)
    settings = _settled(args, found, source)
    card = {
        "layout": args.layout,
        "averaged": averaged,
        "source_sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
        "origin": settings.by_origin(),
    }
    trial = args.out.with_name(f".{args.out.stem}.trial.safetensors")
    try:
        save_weights(trial, found.tensors, found.model, settings.config, card)
        try:
            check_runs(load(trial, device="cpu"), source)
        except InputError as error:
            raise InputError(
                str(error).replace(f"the weight file {trial}", source).replace(str(trial), source)
            ) from error
        os.replace(trial, args.out)
    finally:
        trial.unlink(missing_ok=True)
    count = sum(tensor.numel() for tensor in found.tensors.values())
    kind = "averaged" if averaged else "as they are"
    say(f"{found.model}: {len(found.tensors)} tensors, {count:,} numbers, weights {kind}; written to {args.out}")
    for origin, where in _FROM.items():
        if said := settings.by_origin().get(origin):
            say(f"  {where}: {', '.join(map(settings.said, said))}")
    for sentence in settings.assumptions():
        warn(f"spectac: {sentence}")
    warn("spectac: --config FILE or --set NAME=VALUE says what is assumed")
    return 0


def _settled(args: argparse.Namespace, found: Imported, source: str) -> Settings:
    """The tensors' own configuration, and over it the file's beside the checkpoint, and over that the command's."""

    from spectac_fast.checkpoints import layouts
    from spectac_fast.checkpoints.configurations.reading import read_configuration
    from spectac_fast.checkpoints.settings import Settings
    from spectac_fast.models.registry import load

    layout = layouts.layout(args.layout)
    settings = Settings({"size": [64, 64], "fit": "pad", **found.config}, found.assumed)
    settings.assume({"pixel_mm": _PIXEL_MM, "slice_mm": _PIXEL_MM}, "no tensor tells of what pixels it was trained on")
    gain = load("identity", device="cpu").gain
    settings.assume({"gain": gain}, "no tensor tells the AC/NC gain of the left ventricle; that of the shipped models")
    if args.config:
        beside = f"the configuration {args.config}"
        settings.configure(layout.configured(read_configuration(args.config), found.config, beside), beside)
    for name in ("pixel_mm", "slice_mm", "gain", "size", "fit"):
        if (value := getattr(args, name)) is not None:
            settings.command(name, value)
    for name, value in _flags.settings(args).items():
        settings.command(name, value)
    settings.follow(layout.following(settings.config))
    return settings
