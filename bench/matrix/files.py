"""Files as published code leaves them: random weights under the published names, and the configuration beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn


def random_state(module: nn.Module, seed: int, prefix: str = "") -> dict[str, Tensor]:
    """Values of sensible scale for the names and shapes of a module, which only serves for those."""
    draw = torch.Generator().manual_seed(seed)

    def value(name: str, like: Tensor) -> Tensor:
        noise = torch.randn(like.shape, generator=draw)
        if name.endswith("running_var"):
            return 1.0 + 0.1 * noise.abs()
        if not like.is_floating_point() or like.dim() == 0:
            return torch.zeros(like.shape, dtype=like.dtype)
        if like.dim() == 1:
            return 0.1 * noise + (name.endswith(("weight", "gamma")))
        return noise / math.sqrt(like[0].numel())

    return {prefix + name: value(name, like) for name, like in module.state_dict().items()}


def bridge_buffers(p: Mapping[str, Any]) -> dict[str, Tensor]:
    """The six buffers of a BBDM, from `model.BB.params`."""
    total = p["num_timesteps"]
    m = np.linspace(0.001, 0.999, total)
    if p["mt_type"] == "sin":
        m = 1.0075 ** np.linspace(0, total, total) / 1.0075**total
        m[-1] = 0.999
    before = np.append(0, m[:-1])
    variance = 2 * (m - m**2) * p["max_var"]
    earlier = np.append(0.0, variance[:-1])
    step = variance - earlier * ((1 - m) / (1 - before)) ** 2
    arrays = {
        "m_t": m, "m_tminus": before, "variance_t": variance, "variance_tminus": earlier, "variance_t_tminus": step,
        "posterior_variance_t": step * earlier / variance,
    }  # fmt: skip
    return {name: torch.tensor(array, dtype=torch.float32) for name, array in arrays.items()}


def gaussian_buffers(beta: np.ndarray, name: str) -> dict[str, Tensor]:
    """The schedule buffers of Palette (name "gammas") and, with a few more, of latent diffusion ("alphas_cumprod")."""
    level = np.cumprod(1 - beta)
    before = np.append(1, level[:-1])
    variance = beta * (1 - before) / (1 - level)
    arrays = {
        name: level, f"sqrt_recip_{name}": np.sqrt(1 / level), f"sqrt_recipm1_{name}": np.sqrt(1 / level - 1),
        "posterior_log_variance_clipped": np.log(np.maximum(variance, 1e-20)),
        "posterior_mean_coef1": beta * np.sqrt(before) / (1 - level),
        "posterior_mean_coef2": (1 - before) * np.sqrt(1 - beta) / (1 - level),
    }  # fmt: skip
    if name == "alphas_cumprod":
        arrays |= {
            "betas": beta, "alphas_cumprod_prev": before, "sqrt_alphas_cumprod": np.sqrt(level),
            "sqrt_one_minus_alphas_cumprod": np.sqrt(1 - level), "posterior_variance": variance,
            "log_one_minus_alphas_cumprod": np.log(1 - level),
        }  # fmt: skip
    return {key: torch.tensor(array, dtype=torch.float32) for key, array in arrays.items()}


def write_yaml(path: Path, content: Any) -> Path:
    """As the published runners dump theirs."""
    path.write_text(yaml.safe_dump(content))
    return path


def write_options(path: Path, options: Mapping[str, Any]) -> Path:
    """As pytorch-CycleGAN-and-pix2pix prints its options."""
    lines = [f"{name:>25}: {value!s:<30}\t[default: None]" for name, value in options.items()]
    path.write_text("\n".join(["-" * 17 + " Options " + "-" * 15, *lines, "-" * 17 + " End " + "-" * 19, ""]))
    return path
