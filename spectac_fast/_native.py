"""The compiled extension, loaded once; where it is missing, the reason is kept for messages."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import torch  # noqa: F401  (the extension resolves its symbols in the libraries that torch loads)


def _note() -> dict[str, str]:
    """What the installation left word of: "native" and "cuda", each "built" or why not."""
    note = Path(__file__).with_name("_build.json")
    return json.loads(note.read_text()) if note.exists() else {"native": "the package was never installed"}


def _reason(error: ImportError) -> str:
    recorded = _note()["native"]
    if recorded != "built":
        return f"the C++ extension is not built: {recorded}"
    return f"the C++ extension does not load, reinstall the package ({error})"


def _load() -> tuple[ModuleType | None, str]:
    try:
        return importlib.import_module("spectac_fast._C"), ""
    except ImportError as error:
        return None, _reason(error)


extension, why_missing = _load()


def build_info() -> dict[str, Any]:
    """Compiler, torch and CUDA versions the extension was built with; empty where there is none."""
    return extension.build_info() if extension else {}


def why_not(device_type: str) -> str | None:
    """Why compiled code cannot run on this kind of device ("cpu", "cuda"), or None if it can."""
    if extension is None:
        return why_missing
    if device_type == "cuda" and build_info()["cuda"] is None:
        reason = _note().get("cuda", "reinstall with a CUDA build of torch and nvcc")
        return f"the C++ extension was built without CUDA: {reason}"
    if device_type not in ("cpu", "cuda"):
        return f"there is no compiled code for {device_type} tensors"
    return None
