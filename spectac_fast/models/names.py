"""The names of models and the files behind them; imports neither torch nor weights."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectac_fast.errors import InputError, SetupError

FOLDER = Path(__file__).parents[1] / "weights"
# What a folder of the Hugging Face kind calls its weight file.
IN_FOLDER = "model.safetensors"
# Method (the "model" of a weight file's header) -> "module:function", called as
# function(tensors, header, path, device) -> Translator; imported when a file asks for it.
BUILDERS = {
    "bbdm": "spectac_fast.models.methods.bbdm:build",
    "cpdm": "spectac_fast.models.methods.cpdm:build",
    "cyclegan": "spectac_fast.models.methods.cyclegan:build",
    "ddpm": "spectac_fast.models.methods.ddpm:build",
    "lbbdm": "spectac_fast.models.methods.lbbdm:build",
    "ldm": "spectac_fast.models.methods.ldm:build",
    "medgan": "spectac_fast.models.methods.medgan:build",
    "palette": "spectac_fast.models.methods.palette:build",
    "pix2pix": "spectac_fast.models.methods.pix2pix:build",
    "reggan": "spectac_fast.models.methods.reggan:build",
    "regression": "spectac_fast.models.methods.regression:build",
    "unit": "spectac_fast.models.methods.unit:build",
    "vqgan": "spectac_fast.models.methods.vqgan:build",
}
ROWS = ("identity", "linear", "scale")
# Models that make attenuation maps of volumes, which are no translators of slices, and their files in FOLDER.
MAPS = {name: f"{name}64.safetensors" for name in ("mumap", "mumap-bridge")}
# Models of projections, of views and counts, which are no translators either.
VIEWS = {name: f"{name}64.safetensors" for name in ("cunet", "dudoss")}
APART = MAPS | VIEWS
# Every name that is understood and its file in FOLDER, which need not be there: the weights of some methods are made by
# bench/table1.sh alone.
NAMED = {name: f"{name}64.safetensors" for name in BUILDERS} | {name: f"{name}.json" for name in ROWS}


def shipped() -> list[str]:
    """The names whose weights are installed; bbdm, the default, first."""
    return sorted((name for name in NAMED if (FOLDER / NAMED[name]).is_file()), key=lambda name: (name != "bbdm", name))


def find(name_or_path: str | Path) -> Path:
    """The file that `load` reads for this name, file or folder; raises as it does."""
    path = Path(name_or_path)
    if path.suffix in (".safetensors", ".json"):
        if not path.is_file():
            raise InputError(f"the model file {path} does not exist")
        return path
    name = str(name_or_path)
    if name not in NAMED and (path / IN_FOLDER).is_file():
        return path / IN_FOLDER
    if name not in NAMED:
        near = difflib.get_close_matches(name.lower(), NAMED, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SetupError(
            f"unknown model {name!r}: expected one of {', '.join(shipped())}, or a .safetensors or .json file{hint}"
        )
    path = FOLDER / NAMED[name]
    if not path.is_file():
        raise SetupError(
            f"the weights of model {name!r} are not installed: {path.name} is missing in {FOLDER}; "
            f"`spectac train {name}` makes such a file, bench/table1.sh that of the comparison"
        )
    return path


def weights_apart(name: str, path: str | Path | None = None) -> Path:
    """The weight file of a model of `APART`, or the one that is given; SetupError where none is installed."""
    found = Path(path) if path is not None else FOLDER / APART[name]
    if path is None and not found.is_file():
        raise SetupError(
            f"the weights of {name} are not installed: {found.name} is missing in {FOLDER}; `spectac train {name}` "
            "makes such a file"
        )
    return found


def header_of(path: Path) -> Mapping[str, Any]:
    """What a row's file or the header of a weight file says of its model; InputError for what is neither.

    Of a weight file only the first bytes are read; whether its tensors fit is `registry.load`'s to say.
    """
    try:
        if path.suffix == ".json":
            return json.loads(path.read_bytes())
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            # As safetensors bounds it.
            header = json.loads(file.read(length)) if length <= 100_000_000 else {}
        return json.loads(header["__metadata__"]["spectac_fast"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the model file {path} holds no description of a model of this package") from error
