"""Models as folders of the Hugging Face kind: model.safetensors, config.json and a model card in README.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

try:
    from huggingface_hub import ModelCard, ModelCardData, ModelHubMixin, snapshot_download
except ImportError as error:
    raise ImportError(
        "spectac_fast.integrations.huggingface needs huggingface_hub: pip install 'spectac_fast[huggingface]'."
    ) from error
from torch import Tensor

from spectac_fast.checkpoints.weights import load_weights
from spectac_fast.errors import InputError
from spectac_fast.models.names import IN_FOLDER, find
from spectac_fast.models.registry import load
from spectac_fast.outputs import OWN, Kind

from .cards import model_card, write_files

__all__ = ["PretrainedTranslator"]

CONFIG, CARD = "config.json", "README.md"
_KINDS = {IN_FOLDER: Kind.WEIGHTS, CONFIG: Kind.JSON}

_FRONT = ModelCardData(
    license="apache-2.0",
    library_name="spectac_fast",
    pipeline_tag="image-to-image",
    tags=["SPECT", "attenuation-correction", "medical-imaging", "nuclear-cardiology"],
)


class PretrainedTranslator(ModelHubMixin):
    """A model of this package with `save_pretrained` and `from_pretrained`; otherwise the `Translator` it holds.

        PretrainedTranslator("bbdm").save_pretrained("folder")
        model = PretrainedTranslator.from_pretrained("folder")
        ac = model.translate(nc)

    name_or_path: as `spectac_fast.load` takes it; device likewise.

    The folder's weight file is the model's own, byte for byte, so `spectac_fast.load("folder")` is the same model and
    says the same sha256. config.json repeats the file's header for programs that read no tensors. A name that is no
    folder is looked up on the hub. Raises what `load` raises, and InputError for a model without tensors, a folder that
    lacks a file, or a config.json that says something else than the weights.
    """

    def __init__(self, name_or_path: str | Path, device: str = "auto") -> None:
        self.path = find(name_or_path)
        if self.path.suffix != ".safetensors":
            raise InputError(f"the model {self.path} has no tensors to save, expected a .safetensors file")
        self.translator = load(self.path, device)
        # Where it was read from is no part of the model.
        self._hub_mixin_config = None

    def __getattr__(self, name: str) -> Any:
        if name == "translator":
            raise AttributeError(name)
        return getattr(self.translator, name)

    def translate(self, nc: Tensor, seeds: Tensor | None = None, **options: Any) -> Tensor:
        """NC -> AC (see `Translator.translate`)."""
        return self.translator.translate(nc, seeds, **options)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """What the hub shows: the card beside the weight file, or else what its header says of its making."""
        _, header = load_weights(self.path)
        return ModelCard(f"---\n{_FRONT.to_yaml()}\n---\n\n{model_card(self.path, header)}")

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """As `ModelHubMixin.save_pretrained`; UsageError where a file of another origin is in a place."""
        # The mixin removes an older config.json before it asks for a new one.
        for name, kind in _KINDS.items():
            OWN.check(Path(save_directory) / name, kind)
        return super().save_pretrained(save_directory, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        _, header = load_weights(self.path)
        config = json.dumps(_config(header), indent=2, sort_keys=True).encode()
        content = {IN_FOLDER: self.path.read_bytes(), CONFIG: config}
        write_files(save_directory, {name: (each, _KINDS[name]) for name, each in content.items()})

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        device: str = "auto",
    ) -> PretrainedTranslator:
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(
                snapshot_download(
                    model_id,
                    revision=revision,
                    cache_dir=cache_dir,
                    force_download=force_download,
                    local_files_only=local_files_only,
                    token=token,
                    allow_patterns=[IN_FOLDER, CONFIG, CARD],
                )
            )
        _check(folder)
        return cls(folder / IN_FOLDER, device)


def _config(header: dict[str, Any]) -> dict[str, Any]:
    return {"library_name": "spectac_fast", **header}


def _check(folder: Path) -> None:
    """InputError unless the folder holds both files and they say the same."""
    for name in (IN_FOLDER, CONFIG):
        if not (folder / name).is_file():
            raise InputError(f"the model folder {folder} lacks {name}")
    _, header = load_weights(folder / IN_FOLDER)
    if json.loads((folder / CONFIG).read_bytes()) != _config(header):
        raise InputError(f"{folder / CONFIG} says something else than the header of {folder / IN_FOLDER}")
