"""`spectac info`: versions, devices and models, or what one file, folder or model holds. Never an identity."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from spectac_fast.commands import _flags
from spectac_fast.commands._contents import contents
from spectac_fast.terminal import say

if TYPE_CHECKING:
    from spectac_fast.models.mumap import MapVolumes
    from spectac_fast.models.translator import Translator
    from spectac_fast.models.views.cunet import CountModel
    from spectac_fast.models.views.dudoss import ViewModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _flags.add_inputs(
        parser,
        "DICOM, NIfTI or npy files, folders of DICOM, or models",
        metavar="FILE|MODEL",
        required=False,
        are="models",
    )
    _flags.add_device(parser)
    _flags.add_told(parser, "what `correct` would take them for")


def run(args: argparse.Namespace) -> int:
    if not args.inputs:
        say(*_surroundings())
    for subject in args.inputs:
        if subject.exists() and subject.suffix not in (".safetensors", ".json"):
            say(*contents(subject, _flags.told(args)))
        else:
            say(*_model(str(subject), args.device))
    return 0


def _surroundings() -> Iterable[str]:
    import platform

    import torch

    from spectac_fast.errors import SpectacError
    from spectac_fast.models.names import shipped
    from spectac_fast.models.registry import load
    from spectac_fast.ops.availability import availability

    yield from availability().splitlines()
    yield ""
    yield f"Python {platform.python_version()}, {torch.get_num_threads()} CPU threads"
    for k in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(k)
        yield f"cuda:{k}: {card.name}, {card.total_memory / 2**30:.0f} GiB"
    yield ""
    for name in shipped():
        try:
            yield _headline(load(name, device="cpu"))
        except SpectacError as reason:
            yield f"model {name}: {reason}"
    yield ""
    yield "Research software, not a medical device."


def _model(name: str, device: str) -> Iterable[str]:
    from spectac_fast import load
    from spectac_fast.models.names import find

    if path := _apart(name):
        yield from _model_apart(path)
        return
    translator = load(name, device=device)
    yield _headline(translator)
    usual = getattr(translator, "defaults", {}).get("sample_steps")
    for count, table in sorted(getattr(translator, "fitted", {}).items()):
        own = "the solver of its samples" if count == usual else "a solver"
        yield f"  fitted table of {count} evaluations, {own}: timesteps {', '.join(map(str, table.t))}"
    yield from _settings(find(name), set(translator.card.get("origin", {}).get("assumed", ())))
    for key, value in translator.card.items():
        if key != "origin":
            yield f"  {key}: {value}"


def _apart(name: str) -> Path | None:
    """The file of a network that makes attenuation maps or views, by its name or path; None for another model."""
    from spectac_fast.checkpoints.weights import load_header
    from spectac_fast.models.names import APART, weights_apart

    if name in APART:
        return weights_apart(name)
    path = Path(name)
    return (
        path if path.suffix == ".safetensors" and path.is_file() and load_header(path).get("model") in APART else None
    )


def _model_apart(path: Path) -> Iterable[str]:
    from spectac_fast.checkpoints.weights import load_header
    from spectac_fast.models import mumap, mumap_bridge
    from spectac_fast.models.views import cunet, dudoss

    header = load_header(path)
    name = header["model"]
    loads: dict[str, tuple[Callable[[Path, str], MapVolumes | CountModel | ViewModel], str]] = {
        mumap.NAME: (mumap.load_map_model, "predicts attenuation maps from NC (spectac reconstruct --ac predicted)"),
        mumap_bridge.NAME: (
            mumap_bridge.load_map_bridge,
            "draws attenuation maps from NC (spectac reconstruct --ac predicted)",
        ),
        cunet.NAME: (cunet.load_count_model, "denoises counts of views (spectac reconstruct --denoise)"),
        dudoss.NAME: (dudoss.load_view_model, "makes views that nobody took (spectac reconstruct --views-by)"),
    }
    load, does = loads[name]
    model = load(path, "cpu")
    yield f"model {name}: {does}, voxels of {header['config']['pixel_mm']:g} mm, SHA-256 {model.weights_sha256[:16]}"
    yield from _settings(path, set())
    for key, value in model.card.items():
        yield f"  {key}: {value}"


def _settings(path: Path, assumed: set[str]) -> Iterable[str]:
    """What a weight file says of its model, a line for each part, and what of that its import had to assume."""
    from spectac_fast.checkpoints.settings import named
    from spectac_fast.checkpoints.weights import load_header

    if path.suffix != ".safetensors":
        return
    parts: dict[str, list[str]] = {}
    for key, value in named(load_header(path)["config"]).items():
        part, dot, rest = key.partition(".")
        if part != "fitted":
            said = f"{rest if dot else key} {json.dumps(value)}{' (assumed)' if key in assumed else ''}"
            parts.setdefault(part if dot else "as a whole", []).append(said)
    for part, sentences in parts.items():
        yield f"  {part}: {', '.join(sentences)}"


def _headline(translator: Translator) -> str:
    return (
        f"model {translator.name}: pixels of {translator.pixel_mm:g} mm, AC/NC gain {translator.gain:.3f}, "
        f"SHA-256 {translator.weights_sha256[:16]}"
    )
