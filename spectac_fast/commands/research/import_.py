"""`spectac import FILE --layout NAME -o OUT`: a published checkpoint becomes a weight file of this package."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from spectac_fast.commands import _flags
from spectac_fast.errors import InputError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from spectac_fast.checkpoints import layouts

    parser.add_argument("file", type=Path, metavar="FILE", help="published checkpoint (.pth, .pt, .ckpt, .safetensors)")
    parser.add_argument("--layout", required=True, metavar="NAME", help=f"whose it is: {', '.join(layouts.names())}")
    parser.add_argument(
        "--ema",
        action=argparse.BooleanOptionalAction,
        help="insist on the averaged weights, or take the raw ones (default: averaged where the file holds them)",
    )
    parser.add_argument(
        "--set",
        dest="settings",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="what the file cannot tell, over the layout's own value; dots lead inside: bridge.objective=noise",
    )
    for flag, default, help in (
        ("--pixel-mm", 6.8, "pixel size of the slices it was trained on"),
        ("--slice-mm", 6.8, "distance of those slices"),
    ):
        parser.add_argument(
            flag, type=_flags.positive_float, default=default, metavar="MM", help=f"{help} (default: {default})"
        )
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
    _flags.add_output(parser, "weight file to write (.safetensors)")


def run(args: argparse.Namespace) -> int:
    if args.out.suffix != ".safetensors":
        raise UsageError(f"-o must name a .safetensors file, found {args.out}")
    if not args.out.parent.is_dir():
        raise UsageError(f"-o {args.out}: the folder {args.out.parent} does not exist")
    try:
        return _import(args)
    except InputError as error:
        raise UsageError(str(error)) from error


def _import(args: argparse.Namespace) -> int:
    import hashlib
    import os

    from spectac_fast.checkpoints import layouts
    from spectac_fast.checkpoints.pickles import read_checkpoint
    from spectac_fast.checkpoints.weights import save_weights
    from spectac_fast.models.published import read_published
    from spectac_fast.models.registry import load

    source = f"the checkpoint {args.file}"
    state, averaged = layouts.flat_state(read_checkpoint(args.file), args.ema, source)
    found = read_published(args.layout, state, source)
    config = {
        "size": [64, 64],
        "fit": "pad",
        **found.config,
        "pixel_mm": args.pixel_mm,
        "slice_mm": args.slice_mm,
        "gain": args.gain or load("identity", device="cpu").gain,
    }
    config.update({key: value for key in ("size", "fit") if (value := getattr(args, key)) is not None})
    for setting in args.settings:
        _set(config, setting)
    card = {
        "layout": args.layout,
        "averaged": averaged,
        "source_sha256": hashlib.sha256(args.file.read_bytes()).hexdigest(),
    }
    trial = args.out.with_name(f".{args.out.stem}.trial.safetensors")
    try:
        save_weights(trial, found.tensors, found.model, config, card)
        try:
            load(trial, device="cpu")
        except InputError as error:
            raise InputError(
                str(error).replace(f"the weight file {trial}", source).replace(str(trial), source)
            ) from error
        os.replace(trial, args.out)
    finally:
        trial.unlink(missing_ok=True)
    count = sum(tensor.numel() for tensor in found.tensors.values())
    kind = "averaged" if averaged else "as they are"
    print(f"{found.model}: {len(found.tensors)} tensors, {count:,} numbers, weights {kind}; written to {args.out}")
    return 0


def _set(config: dict[str, Any], setting: str) -> None:
    """Replace one entry of the configuration, "a.b=value"; the value is JSON, or else text."""
    name, equals, text = setting.partition("=")
    *outer, last = name.split(".")
    place: Any = config
    for key in outer:
        place = place.get(key) if isinstance(place, dict) else None
    if not equals or not isinstance(place, dict) or last not in place:
        raise UsageError(f"--set {setting}: expected NAME=VALUE with a NAME among {', '.join(_names(config))}")
    try:
        place[last] = json.loads(text)
    except ValueError:
        place[last] = text


def _names(config: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in config.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return names
