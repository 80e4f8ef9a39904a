"""The flags that mean the same in every subcommand."""

from __future__ import annotations

import argparse
import json
import os
import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectac_fast.commands._names import Inputs
from spectac_fast.errors import UsageError

if TYPE_CHECKING:
    from spectac_fast.formats.series import Told

DEFAULT_MODEL = "bbdm"
# models.uncertainty.SAMPLES, which would import torch before --help.
STD_SAMPLES = 16


def add_inputs(
    parser: argparse.ArgumentParser,
    help: str,
    *,
    metavar: str = "IN",
    alias: str | None = None,
    required: bool = True,
    most: int | None = None,
    are: str = "paths",
) -> None:
    """`IN ...` and `-i/--in IN ...`, which mean the same, also repeated and mixed: a flat list in `args.inputs`.

    alias: another name of the flag. required: that there is at least one; most: how many there may be. are: "paths"
    of which not all may be missing, "models" where names of models are taken too, "checked" where the command says
    itself what is missing. All of this is checked by `check_names`.
    """
    parser.add_argument("inputs", metavar=metavar, type=Path, nargs="*", action="extend", help=help)
    add_in(parser, f"the same as {metavar}", metavar=metavar, alias=alias)
    parser.set_defaults(inputs_are=Inputs(metavar, required, most, are))


def add_in(
    parser: argparse.ArgumentParser, help: str, *, metavar: str = "IN", alias: str | None = None, required: bool = False
) -> None:
    """`-i/--in IN ...` alone, for commands whose positional argument is something else."""
    flags = ("-i", "--in", *([alias] if alias else []))
    parser.add_argument(
        *flags, dest="inputs", metavar=metavar, type=Path, nargs="+", action="extend", required=required, help=help
    )
    parser.set_defaults(inputs_are=Inputs(metavar, required))


def the_file(args: argparse.Namespace, what: str) -> Path:
    """The one input of a command that wants a file; UsageError, which calls it `what`, where there is none."""
    (path,) = args.inputs
    if not path.is_file():
        raise UsageError(f"{what} {path} does not exist")
    return path


def add_output(parser: argparse.ArgumentParser, help: str, *, default: str | None = None, folder: bool = True) -> None:
    """`-o/--out OUT` into `args.out`, a folder or a file; required unless a default is given."""
    parser.set_defaults(out_is_folder=folder)
    shown = f"{help} (default: {default})" if default else help
    parser.add_argument(
        "-o", "--out", dest="out", metavar="OUT", type=Path, required=default is None, default=default, help=shown
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """`--overwrite` into `args.overwrite`, for commands that write nothing else anew."""
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of others that have the name of an output (never an input, a manifest or a device)",
    )


def add_model(parser: argparse.ArgumentParser, default: str = DEFAULT_MODEL) -> None:
    """`-m/--model NAME|FILE` into `args.model`."""
    parser.add_argument(
        "-m", "--model", default=default, help=f"model name, or a .safetensors or .json file (default: {default})"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`-d/--device auto|cpu|cuda[:k]` into `args.device`."""
    parser.add_argument(
        "-d",
        "--device",
        type=device_name,
        default="auto",
        metavar="DEVICE",
        help="auto, cpu, cuda or cuda:N (default: auto)",
    )


def add_sampling(parser: argparse.ArgumentParser) -> None:
    """`--steps`, `--samples` and `--seed`; steps and samples stay None unless given, so that the model decides."""
    parser.add_argument(
        "--steps", type=positive_int, metavar="N", help="network evaluations per sample (default: the model's)"
    )
    parser.add_argument(
        "--samples",
        type=positive_int,
        metavar="K",
        help="average K samples; 1 gives a single sample (default: the model's)",
    )
    add_seed(parser)


def add_told(parser: argparse.ArgumentParser, about: str) -> None:
    """`--kind`, `--phase`, `--plane`, `--pixel-mm` and `--slice-mm`, for `told`; about: a sentence on NIfTI and npy."""
    parser.add_argument(
        "--kind",
        choices=("nc", "ac"),
        help="what all named files are, corrected for attenuation or not, whatever their headers and images say",
    )
    parser.add_argument("--phase", choices=("stress", "rest"), help="of all named files, whatever they say themselves")
    group = parser.add_argument_group("NIfTI and npy files", about)
    group.add_argument("--plane", choices=("SA", "VLA", "HLA"), help="where their names do not tell")
    group.add_argument("--pixel-mm", type=positive_float, metavar="MM", help="of npy files [slices, rows, columns]")
    group.add_argument("--slice-mm", type=positive_float, metavar="MM", help="from slice to slice of npy files")


def told(args: argparse.Namespace) -> Told:
    """What the user says of files, and of the AC that is wanted; nothing of what the command has no options for."""
    from spectac_fast.formats.series import Told

    said = {field.name: getattr(args, field.name, None) for field in fields(Told)}
    return Told(**said | {"kind": said["kind"] and said["kind"].upper()})


def add_department(parser: argparse.ArgumentParser) -> None:
    """`--keep-scatter` and `--sharper`, for `told`: how the department whose AC is wanted makes its own."""
    for flag, meaning in (
        ("--keep-scatter", "leaves scatter in its AC (default: taken out, as is usual)"),
        ("--sharper", "reconstructs AC with resolution recovery and NC without (default: AC is as sharp as NC)"),
    ):
        parser.add_argument(flag, action="store_true", default=None, help=f"give AC as of a department that {meaning}")


def add_seed(parser: argparse.ArgumentParser, default: int = 0) -> None:
    """`--seed S` into `args.seed`."""
    parser.add_argument(
        "--seed", type=int, default=default, metavar="S", help=f"seed of all randomness (default: {default})"
    )


def add_uncertainty(parser: argparse.ArgumentParser, samples: str) -> None:
    """`--uncertainty [K]`; samples: what K samples are, a sentence that goes on."""
    parser.add_argument(
        "--uncertainty",
        type=positive_int,
        nargs="?",
        const=STD_SAMPLES,
        metavar="K",
        help="also write the standard deviation of every count as a second series, from K samples "
        f"{samples} (K: {STD_SAMPLES} unless given)",
    )


def add_shard(parser: argparse.ArgumentParser, what: str) -> None:
    """--shard of commands that share their inputs among processes."""
    parser.add_argument(
        "--shard",
        type=shard,
        metavar="I/N",
        help=f"do the I-th of N parts of the {what} (default: RANK and WORLD_SIZE where torchrun sets them)",
    )


def shard_of(args: argparse.Namespace) -> tuple[int, int]:
    """The part that was asked for, or that torchrun and its like give this process: rank + 1 of the world's size."""
    rank, world = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if args.shard is None and rank.isdecimal() and world.isdecimal() and int(rank) < int(world):
        return int(rank) + 1, int(world)
    return args.shard or (1, 1)


def add_settings(parser: argparse.ArgumentParser, help: str) -> None:
    """`--set NAME=VALUE`, repeated, for `settings`."""
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help=help)


def settings(args: argparse.Namespace) -> dict[str, Any]:
    """Name -> value of what `--set` says, JSON or else text; UsageError for what is no NAME=VALUE."""
    found = {}
    for setting in args.settings:
        name, equals, text = setting.partition("=")
        if not equals:
            raise UsageError(f"--set {setting}: expected NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def shard(text: str) -> tuple[int, int]:
    """argparse type: I/N with 1 <= I <= N, into (I, N)."""
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"expected I/N with I from 1 to N, found {text!r}")
    return int(index), int(count)


def positive_int(text: str) -> int:
    """argparse type: an integer of at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return value


def positive_float(text: str) -> float:
    """argparse type: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def device_name(text: str) -> str:
    """argparse type: auto, cpu, cuda or cuda:N."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", text):
        raise argparse.ArgumentTypeError(
            f"expected auto, cpu, cuda or cuda:N (`spectac info` lists what there is), found {text!r}"
        )
    return text
