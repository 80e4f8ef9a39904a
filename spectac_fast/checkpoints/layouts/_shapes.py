"""Sizes of the shared networks, read off the shapes of their parameters."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from spectac_fast.diffusion.bridge import SCHEDULES, BrownianBridge
from spectac_fast.diffusion.vp import VPProcess
from spectac_fast.errors import InputError

# Buffers are float32 roundings of float64 arithmetic; the published ones and ours differ by the last bit.
_BUFFER_TOLERANCE = 1e-6
_ROUNDED_TOLERANCE = 1e-3
_DIGITS, _DENOMINATOR = 8, 64
# Names that only networks with these options have.
_OPTIONS = {
    ".transformer_blocks.": "attention to a context (use_spatial_transformer)",
    "label_emb.": "classes (num_classes)",
    "id_predictor.": "a prediction of code numbers (n_embed)",
}
OBJECTIVE = "no tensor tells what the network predicts; the templates' is taken"
SAMPLING = "no tensor tells how samples are drawn; the published way is taken"
SIZE = "no tensor tells the size of the images it was trained on, nor how they got there"
RESCALER = "no tensor tells how the rescaler shrinks; the published default is taken"


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


def unet_config(shapes: Shapes, heads: Mapping[str, Any], embedding: str = "time_embed") -> dict[str, Any]:
    """Configuration of a published UNet (models/networks/unet.py). heads: of its attention, which no shape tells."""
    for trace, option in _OPTIONS.items():
        if any(trace in name for name in shapes.found):
            raise InputError(f"{shapes.source} holds a network with {option}, which this package has no network for")
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
    film = shapes.of("input_blocks.1.0.emb_layers.1.weight", 2)[0]
    return {
        "kind": "unet",
        "in_channels": first[1],
        "model_channels": width,
        "out_channels": shapes.of("out.2.weight", 4)[0],
        "num_res_blocks": per_level - 1,
        "attention_resolutions": [2**i for i, n in enumerate(starts) if f"input_blocks.{n}.1.qkv.weight" in shapes],
        "channel_mult": [channels // width for channels in widths],
        "conv_resample": not updown and bool(learned),
        "use_scale_shift_norm": film == 2 * widths[0],
        "resblock_updown": bool(updown),
        **heads,
    }


def heads_of(shapes: Shapes, most: int) -> tuple[dict[str, Any], dict[str, str]]:
    """(the heads of a UNet's attention that are likeliest, why each is no more than that).

    most: width of a head in the published templates; narrower networks have the widest below it that divides every
    attention block, since none of the published ones runs otherwise.
    """
    widths = sorted({shape[1] for name, shape in shapes.found.items() if name.endswith(".qkv.weight")})
    common = math.gcd(*widths)
    head = max(width for width in range(1, most + 1) if common % width == 0) if common else most
    blocks = ", ".join(map(str, widths))
    why = (
        f"no tensor tells how attention blocks of {blocks} channels are divided into heads; this is the widest head of "
        f"at most {most} that fits them all (-1 leaves it to network.num_heads, the number of heads)"
    )
    heads = {"num_head_channels": head, "num_heads": 1, "use_new_attention_order": False}
    return heads, {f"network.{name}": why for name in heads}


def vqgan_config(shapes: Shapes) -> dict[str, Any]:
    """Configuration of a published VQGAN (models/methods/vqgan.py)."""
    ch, in_channels = shapes.of("encoder.conv_in.weight", 4)[:2]
    levels = range(shapes.count(r"encoder\.down\.(\d+)\."))
    if "quantize.embedding.weight" not in shapes and "quant_conv.weight" in shapes:
        raise InputError(
            f"{shapes.source} holds no code book ({shapes.prefix}quantize.embedding.weight): its first stage is a KL "
            "autoencoder (AutoencoderKL), which this package has not"
        )
    if len(levels) > 1 and "encoder.down.0.downsample.conv.weight" not in shapes:
        raise InputError(
            f"{shapes.source} holds a first stage that resamples without convolutions (resamp_with_conv false), which "
            "this package has not"
        )
    if any(".to_qkv." in name for name in shapes.found):
        raise InputError(
            f"{shapes.source} holds a first stage of linear attention (attn_type), which there is not here"
        )
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
        "middle_attention": "encoder.mid.attn_1.q.weight" in shapes,
    }


def bridge_config(tensors: Mapping[str, Tensor], source: str) -> dict[str, Any]:
    """Configuration of the bridge whose schedule buffers a checkpoint holds; the objective is the templates'.

    "kept": "float16" where the file was rounded to half precision, and its schedule with it, whatever type it has.
    """
    shapes = Shapes(tensors, "", source)
    steps = shapes.of("m_t", 1)[0]
    shapes.of("variance_t", 1)
    m, variance = tensors["m_t"].double(), tensors["variance_t"].double()
    peak = int(variance.argmax())
    found = float(variance[peak] / (2.0 * m[peak] * (1.0 - m[peak])))
    rounded: dict[str, Any] = {"kept": "float16"} if torch.equal(tensors["m_t"].half().double(), m) else {}
    # A rounded schedule tells max_var to three digits; only where no plain number gives it exactly do these have to do.
    tolerances = (_BUFFER_TOLERANCE, _ROUNDED_TOLERANCE) if rounded else (_BUFFER_TOLERANCE,)
    for tolerance, max_var, schedule in itertools.product(tolerances, _plain_numbers(found), SCHEDULES):
        try:
            bridge = BrownianBridge(num_timesteps=steps, max_var=max_var, schedule=schedule, **rounded)
        except ValueError:
            break
        if all(_same(buffer, tensors.get(name), tolerance) for name, buffer in bridge.buffers().items()):
            config = {"num_timesteps": steps, "max_var": max_var, "schedule": schedule, "objective": "grad"}
            return config | rounded
    raise InputError(
        f"{source} does not fit the layout: its buffers m_t ... posterior_variance_t are no "
        f"{' or '.join(SCHEDULES)} schedule of {steps} steps"
    )


def _plain_numbers(value: float) -> list[float]:
    """What somebody may have chosen where this was measured, the plainest first."""
    digits = [float(f"{value:.{n}g}") for n in range(1, _DIGITS + 1)]
    return [*digits[:3], float(Fraction(value).limit_denominator(_DENOMINATOR)), *digits[3:]] if value > 0 else [value]


def _same(own: Tensor, found: Tensor | None, tolerance: float) -> bool:
    if found is None or found.shape != own.shape:
        return False
    return float((found.float() - own).abs().max()) <= tolerance * float(own.abs().max())


def check_predicts_noise(process: VPProcess) -> None:
    """InputError for a process whose published code would take the prediction for noise, which it is not."""
    if process.objective != "noise":
        raise InputError(
            f"the network of these weights predicts {process.objective}, and the published layout knows noise only"
        )
