"""A trained bridge as a bundle of MONAI: a folder that `python -m monai.bundle run` corrects studies with."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spectac_fast._version import __version__
from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.correct import correct_files
from spectac_fast.errors import InputError, SpectacError
from spectac_fast.models.methods.bbdm import BBDM, model_of
from spectac_fast.models.names import find
from spectac_fast.models.translator import Translator
from spectac_fast.models.translators.bridge import FITTED, UNFITTED
from spectac_fast.outputs import NOTICE, Kind, mark_checkpoint

from .cards import model_card, write_files
from .monai import MONAI_VERSION, BridgeInferer

_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_SAFETENSORS = "models/model.safetensors"


def export_bundle(name_or_path: str | Path, folder: str | Path) -> Path:
    """Write a BBDM as a MONAI bundle; returns the folder.

    name_or_path: as `spectac_fast.load` takes it. The folder gets configs/metadata.json and configs/inference.json,
    models/model.safetensors (the weight file itself), models/model.pt (the same tensors, for MONAI's own loaders),
    docs/README.md and LICENSE. In it,

        python -m monai.bundle run --config_file configs/inference.json --dataset_dir IN --output_dir OUT

    corrects the NC series below IN into OUT, as `spectac correct` does. `network_def` is the bridge's network and
    `inferer` a `BridgeInferer` for it. Raises what `load` raises, InputError for another method than BBDM, and
    UsageError, with nothing written, where a file of another origin is in a place.
    """
    path = find(name_or_path)
    header: dict[str, Any] = {}
    if path.suffix == ".safetensors":
        tensors, header = load_weights(path)
    if header.get("model") != "bbdm":
        raise InputError(f"the model {path} is a {header.get('model')!r}; a bundle is written of a 'bbdm'")
    root = Path(folder)
    state = bridge(header["config"])
    state.load_state_dict({**state.bridge.buffers(), **{name: value.float() for name, value in tensors.items()}})
    model_pt = io.BytesIO()
    torch.save(state.state_dict(), model_pt)
    mark_checkpoint(model_pt)
    licence = metadata.distribution("spectac_fast").read_text("licenses/LICENSE")
    assert licence is not None
    files = {
        "configs/metadata.json": (_json(_metadata(header)), Kind.JSON),
        "configs/inference.json": (_json(_inference(header["config"])), Kind.JSON),
        _SAFETENSORS: (path.read_bytes(), Kind.WEIGHTS),
        "models/model.pt": (model_pt.getvalue(), Kind.CHECKPOINT),
        "docs/README.md": (model_card(path, header).encode(), Kind.CARD),
        "LICENSE": (licence.encode(), None),
    }
    write_files(root, files)
    return root


def bridge(config: Mapping[str, Any]) -> BBDM:
    """The network of a bundle, without its weights: `network_def` of its configuration."""
    return model_of(config)


def correct(inputs: Sequence[str], output_dir: str, translator: Translator) -> None:
    """What running a bundle does; SpectacError with the first failure's sentence if anything failed."""
    report = correct_files([Path(path) for path in inputs], Path(output_dir), translator)
    if report.failed:
        raise SpectacError(f"{len(report.failed)} failed, first: {report.failed[0]}")


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=4).encode()


def _inference(config: dict[str, Any]) -> dict[str, Any]:
    here = __name__
    defaults = config["defaults"]
    return {
        "notice": NOTICE,
        "bundle_root": ".",
        "device": "auto",
        "dataset_dir": "$@bundle_root + '/input'",
        "output_dir": "$@bundle_root + '/output'",
        "network_def": {"_target_": f"{here}.bridge", "config": config},
        "inferer": {
            "_target_": f"{BridgeInferer.__module__}.BridgeInferer",
            "process": "$@network_def.bridge",
            "steps": defaults["steps"],
            "mode": "crossattn",
            "solver": UNFITTED if defaults["solver"] == FITTED else defaults["solver"],
            "order": defaults["order"],
            "eta": defaults["eta"],
        },
        "translator": {
            "_target_": "spectac_fast.load",
            "name_or_path": f"$@bundle_root + '/{_SAFETENSORS}'",
            "device": "@device",
        },
        "dataset": "$[@dataset_dir]",
        "evaluator": {
            "_target_": f"{here}.correct",
            "_mode_": "callable",
            "inputs": "@dataset",
            "output_dir": "@output_dir",
            "translator": "@translator",
        },
        "run": ["$@evaluator()"],
    }


def _metadata(header: dict[str, Any]) -> dict[str, Any]:
    config = header["config"]
    image = {
        "type": "image",
        "format": "counts",
        "modality": "NM",
        "num_channels": 1,
        "spatial_shape": list(config["size"]),
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
    }
    return {
        "schema": _SCHEMA,
        "notice": NOTICE,
        "version": __version__,
        "changelog": {__version__: "exported by spectac_fast"},
        "monai_version": MONAI_VERSION,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"spectac_fast": __version__},
        "name": "CT-free attenuation correction of cardiac SPECT",
        "task": "attenuation-corrected slices from non-corrected ones, by a Brownian bridge (BBDM)",
        "description": "NC cardiac SPECT slices in, an estimate of the AC slices out, without CT.",
        "authors": "spectac_fast",
        "copyright": "Apache-2.0",
        "data_source": f"synthetic patients made by spectac phantom: {_json(header['card'].get('data', {})).decode()}",
        "data_type": "DICOM",
        "intended_use": "Research on CT-free attenuation correction. Not a medical device, not for diagnosis.",
        "references": [
            "Li et al., BBDM: Image-to-Image Translation with Brownian Bridge Diffusion Models, CVPR 2023",
            "Zheng et al., Diffusion Bridge Implicit Models, ICLR 2025",
        ],
        "network_data_format": {
            "inputs": {"image": {**image, "channel_def": {"0": "NC"}}},
            "outputs": {"pred": {**image, "channel_def": {"0": "AC"}}},
        },
    }
