"""Palette's JSON (github.com/Janspiry/Palette-Image-to-Image-Diffusion-Models)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectac_fast.checkpoints.settings import looked_up
from spectac_fast.errors import InputError

from .section import Section, square
from .unets import attention

_SCHEDULES = {"linear": "linear", "const": "linear", "quad": "scaled_linear"}
_KNOWN = ("cosine", "warmup10", "warmup50")


def configured(published: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """See the folder's page."""
    networks = looked_up(published, "model.which_networks")
    args = networks[0].get("args") if isinstance(networks, list) and networks else None
    if not isinstance(args, Mapping):
        raise InputError(f"{source}: expected the section model.which_networks of a Palette configuration, found none")
    own = Section({"args": args}, "args", source)
    own.only("module_name", "guided_diffusion", without="network of that module")
    found = _network(Section(args, "unet", source))
    for phase, part in (("train", "training"), ("test", "sampling")):
        found |= _process(Section(args, f"beta_schedule.{phase}", source), part)
    # Where nothing is said, the published data sets are read at this size.
    size = square(looked_up(published, "datasets.test.which_dataset.args.image_size", 256))
    found |= {"size": size, "fit": "resize"} if size else {}
    return found | {"defaults.steps": found["sampling.num_timesteps"]}


def _network(unet: Section) -> dict[str, Any]:
    """The UNet under Palette's names of its options."""
    levels = unet.take("channel_mults", [1, 2, 4, 8], (list, tuple))
    factors = [2**level for level in range(len(levels))]
    unet.only("use_fp16", False, without="network that was trained in half precision")
    unet.ignore("image_size", "dropout", "use_checkpoint")
    updown = bool(unet.take("resblock_updown", True)) and len(levels) > 1
    found = {
        "network.in_channels": unet.take("in_channel"),
        "network.out_channels": unet.take("out_channel"),
        "network.model_channels": unet.take("inner_channel"),
        "network.num_res_blocks": unet.take("res_blocks"),
        "network.channel_mult": list(levels),
        "network.attention_resolutions": sorted(set(factors) & set(unet.take("attn_res", [], (list, tuple)))),
        "network.use_scale_shift_norm": bool(unet.take("use_scale_shift_norm", True)),
        "network.resblock_updown": updown,
        "network.conv_resample": bool(unet.take("conv_resample", True)) and not updown and len(levels) > 1,
        **attention(unet, default_heads=1),
    }
    unet.done()
    return found


def _process(schedule: Section, part: str) -> dict[str, Any]:
    kind = schedule.take("schedule", "linear")
    if kind not in (*_SCHEDULES, *_KNOWN):
        raise InputError(
            f"{schedule.source}: {schedule.name}.schedule is {kind!r}, expected one of "
            f"{', '.join((*_SCHEDULES, *_KNOWN))}"
        )
    end = float(schedule.take("linear_end", 1e-2))
    start = end if kind == "const" else float(schedule.take("linear_start", 1e-6))
    found = {f"{part}.schedule": _SCHEDULES.get(kind, kind), f"{part}.num_timesteps": schedule.take("n_timestep")}
    schedule.ignore("linear_start")
    if kind == "cosine":
        schedule.only("cosine_s", 8e-3, without="other offset of the cosine schedule")
    else:
        found |= {f"{part}.beta_start": start, f"{part}.beta_end": end}
    schedule.done()
    return found
