"""Reading tensors out of foreign files without ever running what else is in them.

PyTorch's own restricted loader (`weights_only=True`) reads plain state dicts. Lightning files also hold callbacks and
settings as objects, which it refuses; they are read here by an unpickler that can rebuild tensors and nothing else: it
imports no module and calls nothing that a file names. Objects of the libraries Lightning files are known to mention
become inert and are dropped; a file that names anything else is refused.
"""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from spectac_fast.errors import InputError

_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip
_INERT_PACKAGES = frozenset(
    {"pytorch_lightning", "lightning", "lightning_fabric", "omegaconf", "argparse", "collections", "typing", "numpy"}
)
_INERT_BUILTINS = frozenset({"dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bool", "object"})


class RefusedError(Exception):
    """A pickle names something that is neither a tensor nor known to be harmless when left out."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint file, in the nested dicts they were stored in, on the CPU; all else is dropped.

    .safetensors, or what torch.save wrote (.pth, .pt, .ckpt, .bin). Raises InputError if the file is missing, damaged,
    of another kind, or holds code.
    """
    if not path.is_file():
        raise InputError(f"the checkpoint {path} does not exist")
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except (SafetensorError, OSError) as error:
            raise InputError(f"the checkpoint {path} is not a readable safetensors file: {_line(error)}") from error
    try:
        content = _load(path)
    except RefusedError as error:
        raise InputError(f"the checkpoint {path} is refused: {error}; no code in it was run") from error
    # Damage can surface in a pickle as any exception whatever.
    except Exception as error:
        raise InputError(
            f"the checkpoint {path} cannot be read as a PyTorch file of tensors: it is damaged, of another kind, "
            "or holds code, which is never run"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"the checkpoint {path} must hold named tensors, found {type(content).__name__}")
    return _tensors_only(content)


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # What torch warns of in a foreign file is either read all the same or refused in a sentence of ours.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        if not zipfile.is_zipfile(path):
            raise
    with zipfile.ZipFile(path) as archive:
        return _TensorUnpickler(archive).load()


def _tensors_only(content: Mapping[Any, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Tensor):
            kept[str(name)] = value.detach()
        elif isinstance(value, Mapping) and (inside := _tensors_only(value)):
            kept[str(name)] = inside
    return kept


class _Inert:
    """Stands for an object that is left out: takes any argument, item and state, and keeps none."""

    def __new__(cls, *args: Any, **named: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **named: Any) -> None:
        pass

    def __call__(self, *args: Any, **named: Any) -> _Inert:
        return self

    def __setstate__(self, state: Any) -> None:
        pass

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor from its storage; torch checks that size and stride stay within it."""
    return torch.as_strided(storage, size, stride, offset).clone()


def _parameter(data: Tensor, *_: Any) -> Tensor:
    return data


class _TensorUnpickler(pickle.Unpickler):
    """Unpickles the main record of a torch.save archive; the storages are the archive's other records."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        record = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if record is None:
            raise RefusedError("it is an archive, but not one of torch.save")
        super().__init__(io.BytesIO(archive.read(record)))
        self.archive, self.folder = archive, record.removesuffix("data.pkl")
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        # torch.save writes the second pickle protocol, which knows modules by their old names.
        module = {"__builtin__": "builtins", "copy_reg": "copyreg"}.get(module, module)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch._utils" and name == "_rebuild_tensor_v2":
            return _tensor
        if module == "torch._utils" and name == "_rebuild_parameter":
            return _parameter
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module.partition(".")[0] in _INERT_PACKAGES or (module == "builtins" and name in _INERT_BUILTINS):
            return _Inert
        raise RefusedError(f"it names {module}.{name}, which is no tensor")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        if not isinstance(dtype, torch.dtype):
            raise RefusedError("it holds a storage of unknown type")
        if key not in self.storages:
            info = self.archive.getinfo(f"{self.folder}data/{key}")
            # torch.save never compresses; a compressed record could claim any size.
            if info.compress_type != zipfile.ZIP_STORED:
                raise RefusedError("it holds a compressed storage")
            raw = bytearray(self.archive.read(info))
            self.storages[key] = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return self.storages[key]


def _line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
