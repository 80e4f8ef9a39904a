"""The arguments of a guided-diffusion UNet, read off the names and shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectac_fast.errors import InputError


def unet_config(
    tensors: Mapping[str, Tensor], prefix: str, source: str, embedding: str = "time_embed"
) -> dict[str, Any]:
    """Arguments of `UNetModel` (models/unet.py) for the tensors whose names begin with `prefix`, ready for a header.

    embedding: name of the timestep embedding. The width of an attention head leaves no trace in the shapes: it is not
    among the arguments, and the layout adds it. Raises InputError, beginning with `source`, if this is no such UNet.
    """
    state = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    try:
        return _arguments(state, embedding)
    except KeyError as error:
        raise InputError(f"{source} does not hold a guided-diffusion UNet: it lacks {prefix}{error.args[0]}") from error
    except ValueError as error:
        raise InputError(f"{source} does not hold a guided-diffusion UNet: {error}") from error


def _arguments(state: Mapping[str, Tensor], embedding: str) -> dict[str, Any]:
    width = state[f"{embedding}.0.weight"].shape[1]
    stem, head = state["input_blocks.0.0.weight"], state["out.2.weight"]
    count = 1 + max(_indices(state, r"input_blocks\.(\d+)\."))
    halved_by_blocks = _indices(state, r"output_blocks\.(\d+)\.[12]\.in_layers")
    halved_by_convolution = _indices(state, r"input_blocks\.(\d+)\.0\.op\.")
    # A halving without parameters leaves a gap in the numbers.
    gaps = set(range(count)) - _indices(state, r"input_blocks\.(\d+)\.")
    # The first halving follows the residual blocks of the first level, and the stem; on the way up, one more of them.
    if halved_by_blocks:
        blocks = min(halved_by_blocks)
    else:
        blocks = min(halved_by_convolution | gaps, default=count) - 1
    starts = range(1, count, blocks + 1)
    if count % (blocks + 1):
        raise ValueError(f"its {count} input blocks make no levels of {blocks} residual blocks")
    widths = [state[f"input_blocks.{start}.0.out_layers.3.weight"].shape[0] for start in starts]
    if any(channels % width for channels in widths):
        raise ValueError(f"its widths {widths} are no multiples of {width}")
    return {
        "in_channels": stem.shape[1],
        "model_channels": width,
        "out_channels": head.shape[0],
        "num_res_blocks": blocks,
        "attention_resolutions": [
            2**level for level, start in enumerate(starts) if f"input_blocks.{start}.1.qkv.weight" in state
        ],
        "channel_mult": [channels // width for channels in widths],
        "conv_resample": not halved_by_blocks and not gaps,
        "use_scale_shift_norm": state["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * widths[0],
        "resblock_updown": bool(halved_by_blocks),
    }


def _indices(state: Mapping[str, Tensor], pattern: str) -> set[int]:
    return {int(found[1]) for name in state if (found := re.match(pattern, name))}
