"""Which device a command runs on, and what it computes in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectac_fast.errors import SetupError

if TYPE_CHECKING:
    import torch

# As torch names them: AVX512-BF16 and AMX-BF16 of x86, BF16 of Arm.
_BF16_UNITS = ("avx512_bf16", "amx_bf16", "bf16")


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
        raise SetupError(f"device {name}: {_instead(found)}; -d cpu, or -d auto, runs here")
    return f"cuda:{index}"


def _instead(found: int) -> str:
    """Why a CUDA device that was asked for is not there."""
    import torch

    if torch.version.cuda is None:
        return f"expected a torch built for CUDA, found torch {torch.__version__}, which is not"
    if not found:
        return "expected a CUDA device that torch can use, found none (is there a GPU, and a driver?)"
    return f"expected one of {', '.join(f'cuda:{k}' for k in range(found))}, found no such device"


def has_bf16_units(device: torch.device) -> bool:
    """Whether a CPU or CUDA device computes in bfloat16 itself; elsewhere torch emulates it.

    On a CPU without such units a training step in bfloat16 takes several times as long as one in float32. They are used
    through oneDNN, so a torch without it has none.
    """
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(found.get(unit, False) for unit in _BF16_UNITS)
