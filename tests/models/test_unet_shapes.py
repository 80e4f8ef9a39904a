"""A UNet's arguments from nothing but its tensors."""

from __future__ import annotations

import json

import pytest
import torch
from places import KEYS

from spectac_fast.checkpoints.layouts._shapes import Shapes, unet_config
from spectac_fast.errors import InputError
from spectac_fast.models.networks.build import build_network
from spectac_fast.models.networks.unet import UNetModel

BASE = {
    "in_channels": 3, "model_channels": 32, "out_channels": 2, "num_res_blocks": 2, "attention_resolutions": [2],
    "channel_mult": [1, 2, 4], "conv_resample": True, "use_scale_shift_norm": False, "resblock_updown": False,
}  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_res_blocks": 1, "channel_mult": [1, 3]},
        {"conv_resample": False, "attention_resolutions": []},
        {"conv_resample": False, "resblock_updown": True, "use_scale_shift_norm": True},
        {"conv_resample": False, "resblock_updown": True, "num_res_blocks": 3, "attention_resolutions": [1, 4]},
        {"channel_mult": [2], "attention_resolutions": [1], "conv_resample": False},
    ],
)
def test_arguments_are_recovered(changes):
    arguments = {**BASE, **changes}
    with torch.device("meta"):
        state = UNetModel(**arguments).state_dict(prefix="net.")
    assert unet_config(Shapes({**state, "other": torch.zeros(1)}, "net.", "file"), {}) == {"kind": "unet", **arguments}


@pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")
@pytest.mark.parametrize(
    ("name", "prefix", "heads"),
    [("bbdm_lbbdm_f8", "denoise_fn.", 64), ("cpdm", "denoise_fn.", 64), ("ldm_unet_f4_concat_6to3", None, 8)],
)
def test_published_networks_are_recovered(name, prefix, heads):
    shapes = {key: value[0] for key, value in json.loads((KEYS / f"{name}.json").read_text())["keys"].items()}
    prefix = prefix or next(key for key in shapes if "time_embed.0.weight" in key).removesuffix("time_embed.0.weight")
    with torch.device("meta"):
        state = {key: torch.empty(shape) for key, shape in shapes.items()}
        net = build_network(unet_config(Shapes(state, prefix, "file"), {"num_head_channels": heads}))
    expected = {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}
    assert {key: list(value.shape) for key, value in net.state_dict().items()} == expected


def test_other_networks_are_refused():
    odd = {"net.time_embed.0.weight": torch.zeros(4, 4), "net.input_blocks.0.0.weight": torch.zeros(4, 1, 3, 3)}
    with pytest.raises(InputError, match="file does not fit the layout: its blocks under net"):
        unet_config(Shapes(odd, "net.", "file"), {})
    for state in ({}, {"net.time_embed.0.weight": torch.zeros(4, 4)}, {"model.1.weight": torch.zeros(4, 1, 7, 7)}):
        with pytest.raises(InputError, match="file does not fit the layout: it lacks net"):
            unet_config(Shapes(state, "net.", "file"), {})
