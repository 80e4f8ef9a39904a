"""Which operators run on which back end on this machine, and why not."""

from __future__ import annotations

import torch

from spectac_fast._native import build_info
from spectac_fast._op import BACKENDS, Op
from spectac_fast._version import __version__


def availability() -> str:
    """Version and build, then one line per operator, device and back end: available, or the reason why not."""
    built = ", ".join(f"{name} {value}" for name, value in build_info().items() if value) or "not built"
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    lines = [f"spectac_fast {__version__}, torch {torch.__version__}, extension: {built}", ""]
    for op in Op.all():
        for device in devices:
            for backend in BACKENDS:
                reason = op.why_not(backend, device)
                lines.append(f"{op.name:<16} {device:<5} {backend:<10} {'no: ' + reason if reason else 'available'}")
    if "cuda" not in devices:
        lines.append("\ntorch sees no CUDA device here.")
    return "\n".join(lines)
