"""Names on the command line that lead nowhere are said before anything is imported: torch alone takes seconds."""

from __future__ import annotations

import argparse
import glob
import os
from dataclasses import dataclass

from spectac_fast.errors import NoInputError, SetupError, UsageError
from spectac_fast.models.names import APART, find, weights_apart

# Flags whose values are files or folders that must be there.
_THERE = (
    "--geometry",
    "--initial",
    "--first-stage",
    "--maps",
    "--bridge",
    "--validation",
    "--normals",
    "--tls-cert",
    "--tls-key",
    "--tls-ca",
)


@dataclass(frozen=True)
class Inputs:
    """What the inputs of a command must be; see `_flags.add_inputs`."""

    metavar: str
    required: bool = True
    most: int | None = None
    are: str = "paths"


def check_names(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End with a usage error for too few or too many inputs, and raise for what is not there.

    NoInputError where every input is missing, UsageError for another file or folder, SetupError for an output folder
    that is a file; of a model as `models.names.find` does. No file is opened.
    """
    if "inputs_are" in args:
        args.inputs = args.inputs or []
        _check_inputs(parser, args)
    for flag in _THERE:
        values = getattr(args, flag.lstrip("-").replace("-", "_"), None) or []
        for path in values if isinstance(values, list) else [values]:
            if not os.path.exists(path):
                raise UsageError(f"{flag} {path}: expected a file or folder here, found none.")
    if getattr(args, "out_is_folder", False) and os.path.exists(args.out) and not os.path.isdir(args.out):
        raise SetupError(f"{args.out}: expected a folder to write results to, found a file.")
    if "model" in args and args.command != "train":
        find(args.model)


def _check_inputs(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    wanted, inputs = args.inputs_are, args.inputs
    if wanted.required and not inputs:
        parser.error(f"the following arguments are required: {wanted.metavar}")
    if wanted.most is not None and len(inputs) > wanted.most:
        parser.error(f"{wanted.metavar}: expected {wanted.most}, found {len(inputs)}")
    missing = [path for path in inputs if not (glob.has_magic(str(path)) or os.path.lexists(path))]
    if wanted.are == "models":
        for path in missing:
            if len(path.parts) > 1 or path.suffix not in ("", ".safetensors", ".json"):
                raise NoInputError(f"{path}: expected a file, a folder or the name of a model here, found none.")
            weights_apart(str(path)) if str(path) in APART else find(path)
    if wanted.are == "paths" and inputs and len(missing) == len(inputs):
        raise NoInputError(f"{', '.join(map(str, inputs))}: expected a file or folder here, found none.")
