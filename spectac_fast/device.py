"""Which device a command runs on."""

from __future__ import annotations

from spectac_fast.errors import SetupError


def resolve_device(name: str) -> str:
    """ "auto" -> the first CUDA device if there is one, else "cpu"; "cpu" and "cuda[:k]" as they are.

    Raises SetupError where CUDA is asked for and that device is not there.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda:0" if found else "cpu"
    if name == "cpu":
        return name
    index = int(name.partition(":")[2] or 0)
    if index >= found:
        raise SetupError(f"device {name}: expected one of {found} CUDA devices on this machine; use -d cpu")
    return f"cuda:{index}"
