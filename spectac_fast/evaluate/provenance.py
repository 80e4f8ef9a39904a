"""Where a number comes from: the commit, the versions and the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

from spectac_fast._version import __version__

_PACKAGE = Path(__file__).resolve().parent.parent


def commit() -> str:
    """Short commit of the source tree, ``-dirty`` with uncommitted changes; the version outside a repository."""
    installed = f"version {__version__}"
    if not (_PACKAGE.parent / ".git").exists():
        return installed
    command = ["git", "-C", str(_PACKAGE.parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return installed


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine(device: torch.device) -> str:
    """One line: processor, threads, GPU where it is used, torch and Python versions."""
    parts = [f"{_cpu_name()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"]
    if device.type == "cuda":
        parts.append(torch.cuda.get_device_name(device))
    parts.append(f"torch {torch.__version__}, Python {platform.python_version()}")
    return "; ".join(parts)
