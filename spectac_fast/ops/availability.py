"""Which operators run on which back end on this machine, and why not."""

from __future__ import annotations

import torch

from spectac_fast._native import build_info
from spectac_fast._op import BACKENDS, Op
from spectac_fast._version import __version__


def availability() -> str:
    """Version and build, then one line per operator, device and back end: available, or the reason why not."""
    built = ", ".join(f"{name} {value}" for name, value in build_info().items() if value) or "not built"
    lines = [f"spectac_fast {__version__}, torch {torch.__version__}, extension: {built}", ""]
    absent = {"cpu": None, "cuda": None if torch.cuda.is_available() else "torch sees no CUDA device here"}
    width = max(len(op.name) for op in Op.all())
    for op in Op.all():
        for device, no_device in absent.items():
            for backend in BACKENDS:
                reason = op.why_not(backend, device) or no_device
                state = f"no: {reason}" if reason else "available"
                lines.append(f"{op.name:<{width}} {device:<5} {backend:<10} {state}")
    return "\n".join(lines)
