"""Sizes of the shared networks, read off the shapes of their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.diffusion.bridge import SCHEDULES, BrownianBridge
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.errors import InputError

# Buffers are float32 roundings of float64 arithmetic; the published ones and ours differ by the last bit.
_BUFFER_TOLERANCE = 1e-6


class Shapes:
    """The shapes of the tensors whose names begin with `prefix`, that prefix taken off."""

    def __init__(self, tensors: Mapping[str, Tensor], prefix: str, source: str) -> None:
        self.source, self.prefix = source, prefix
        self.found = {
            name.removeprefix(prefix): tuple(value.shape) for name, value in tensors.items() if name.startswith(prefix)
        }

    def __contains__(self, name: str) -> bool:
        return name in self.found

    def of(self, name: str, axes: int) -> tuple[int, ...]:
        """Shape of a tensor; InputError where it is missing or has another number of axes."""
        if name not in self.found:
            raise InputError(f"{self.source} does not fit the layout: it lacks {self.prefix}{name}")
        shape = self.found[name]
        if len(shape) != axes or min(shape) < 1:
            raise InputError(
                f"{self.source} does not fit the layout: {self.prefix}{name} has shape {list(shape)}, "
                f"expected {axes} axes"
            )
        return shape

    def count(self, pattern: str) -> int:
        """How many numbers the group of a pattern of names takes: the length of a list of modules."""
        return len({match.group(1) for name in self.found if (match := re.match(pattern, name))})


def unet_config(shapes: Shapes, heads: Mapping[str, int], embedding: str = "time_embed") -> dict[str, Any]:
    """Configuration of a published UNet (models/networks/unet.py). heads: of its attention, which no shape tells."""
    width = shapes.of(f"{embedding}.0.weight", 2)[1]
    first = shapes.of("input_blocks.0.0.weight", 4)
    blocks = shapes.count(r"output_blocks\.(\d+)\.")
    updown = shapes.count(r"output_blocks\.(\d+)\.[12]\.in_layers\.")
    learned = shapes.count(r"output_blocks\.(\d+)\.[12]\.conv\.")
    # Without parameters, resampling shows only as numbers left out on the way down.
    levels = 1 + (updown or learned or blocks - shapes.count(r"input_blocks\.(\d+)\."))
    if not blocks or levels < 1:
        raise InputError(f"{shapes.source} does not fit the layout: its blocks under {shapes.prefix} make no UNet")
    per_level = blocks // levels
    starts = [1 + level * per_level for level in range(levels)]
    widths = [shapes.of(f"input_blocks.{n}.0.in_layers.2.weight", 4)[0] for n in starts]
    embedding = shapes.of("input_blocks.1.0.emb_layers.1.weight", 2)[0]
    return {
        "kind": "unet",
        "in_channels": first[1],
        "model_channels": width,
        "out_channels": shapes.of("out.2.weight", 4)[0],
        "num_res_blocks": per_level - 1,
        "attention_resolutions": [2**i for i, n in enumerate(starts) if f"input_blocks.{n}.1.qkv.weight" in shapes],
        "channel_mult": [channels // width for channels in widths],
        "conv_resample": not updown and bool(learned),
        "use_scale_shift_norm": embedding == 2 * widths[0],
        "resblock_updown": bool(updown),
        **heads,
    }


def vqgan_config(shapes: Shapes) -> dict[str, Any]:
    """Configuration of a published VQGAN (models/methods/vqgan.py)."""
    ch, in_channels = shapes.of("encoder.conv_in.weight", 4)[:2]
    levels = range(shapes.count(r"encoder\.down\.(\d+)\."))
    n_embed, embed_dim = shapes.of("quantize.embedding.weight", 2)
    return {
        "in_channels": in_channels,
        "out_channels": shapes.of("decoder.conv_out.weight", 4)[0],
        "ch": ch,
        "ch_mult": [shapes.of(f"encoder.down.{i}.block.0.conv1.weight", 4)[0] // ch for i in levels],
        "num_res_blocks": shapes.count(r"encoder\.down\.0\.block\.(\d+)\."),
        "attn_levels": [i for i in levels if f"encoder.down.{i}.attn.0.q.weight" in shapes],
        "z_channels": shapes.of("encoder.conv_out.weight", 4)[0],
        "embed_dim": embed_dim,
        "n_embed": n_embed,
    }


def bridge_config(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Configuration of the bridge whose schedule buffers a checkpoint holds; the objective is the templates'."""
    shapes = Shapes(tensors, "", source)
    steps = shapes.of("m_t", 1)[0]
    shapes.of("variance_t", 1)
    m, variance = tensors["m_t"].double(), tensors["variance_t"].double()
    peak = int(variance.argmax())
    max_var = float(f"{float(variance[peak] / (2.0 * m[peak] * (1.0 - m[peak]))):.5g}")
    for schedule in SCHEDULES:
        try:
            bridge = BrownianBridge(num_timesteps=steps, max_var=max_var, schedule=schedule)
        except ValueError:
            break
        if all(_same(buffer, tensors.get(name)) for name, buffer in bridge.buffers().items()):
            return {"num_timesteps": steps, "max_var": max_var, "schedule": schedule, "objective": "grad"}
    raise InputError(
        f"{source} does not fit the layout: its buffers m_t ... posterior_variance_t are no "
        f"{' or '.join(SCHEDULES)} schedule of {steps} steps"
    )


def _same(own: Tensor, found: Tensor | None) -> bool:
    return (
        found is not None
        and found.shape == own.shape
        and float((found.float() - own).abs().max()) <= _BUFFER_TOLERANCE * float(own.abs().max().clamp(min=1.0))
    )


def check_predicts_noise(process: VPProcess) -> None:
    """InputError for a process whose published code would take the prediction for noise, which it is not."""
    if process.objective != "noise":
        raise InputError(
            f"the network of these weights predicts {process.objective}, and the published layout knows noise only"
        )
