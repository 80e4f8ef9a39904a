"""Published files of the bridges and of the VQGAN: read, named where they do not fit, written back."""

from __future__ import annotations

import json

import pytest
import tiny_latent as tiny
import torch
from places import KEYS

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cli import main
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.errors import InputError
from spectac_fast.models.methods import bbdm, cpdm, lbbdm
from spectac_fast.models.published import read_published
from spectac_fast.models.registry import load

needs_keys = pytest.mark.skipif(not KEYS.is_dir(), reason="needs the published key lists in ../shared/reference/keys")
UNET = {
    "kind": "unet", "in_channels": 6, "model_channels": 32, "out_channels": 3, "num_res_blocks": 1,
    "attention_resolutions": [2], "channel_mult": [1, 2], "num_head_channels": 32, "use_scale_shift_norm": True,
    "resblock_updown": True, "conv_resample": False,
}  # fmt: skip
VQGAN = {
    "in_channels": 1, "out_channels": 1, "ch": 32, "ch_mult": [1, 1], "num_res_blocks": 1, "attn_levels": [0],
    "z_channels": 3, "embed_dim": 3, "n_embed": 16,
}  # fmt: skip


def published(name):
    """Tensors of a published key list: the schedule with values, all else without memory."""
    listed = json.loads((KEYS / f"{name}.json").read_text())["keys"]
    return {k: torch.empty(shape, device="meta") for k, (shape, _) in listed.items()} | (
        BrownianBridge().buffers() if "m_t" in listed else {}
    )


F4 = {"in_channels": 3, "out_channels": 3, "ch": 128, "ch_mult": [1, 2, 4], "attn_levels": [], "n_embed": 8192}


@needs_keys
@pytest.mark.parametrize(
    ("layout", "keys", "expected", "vqgan"),
    [
        (
            "bbdm",
            "bbdm_lbbdm_f8",
            {
                "in_channels": 4,
                "out_channels": 4,
                "channel_mult": [1, 4, 8],
                "attention_resolutions": [],
                "num_res_blocks": 2,
            },
            {"ch_mult": [1, 2, 2, 4], "attn_levels": [3], "embed_dim": 4, "n_embed": 16384, "num_res_blocks": 2},
        ),
        (
            "cpdm",
            "cpdm",
            {"in_channels": 9, "out_channels": 3, "channel_mult": [1, 2, 3, 4], "attention_resolutions": [8]},
            {**F4, "in_channels": 1, "out_channels": 1, "num_res_blocks": 1},
        ),
        ("vqgan", "ldm_vq_f4_c3", {}, {**F4, "num_res_blocks": 2}),
        ("vqgan", "ldm_vq_f4_c1", {}, {**F4, "in_channels": 1, "out_channels": 1}),
    ],
)
def test_published_names_in_both_directions(layout, keys, expected, vqgan):
    """Ours has every published name and shape and no other; writing gives the published names again."""
    tensors = published(keys)
    found = read_published(layout, tensors, keys)
    config = found.config
    for name, value in expected.items():
        assert config["network"][name] == value, name
    for name, value in vqgan.items():
        assert config.get("vqgan", config["network"])[name] == value, name
    written, _ = layouts.flat_state(layouts.layout(layout).write(found.tensors, config), None, keys)
    assert {k: v.shape for k, v in written.items()} == {k: v.shape for k, v in tensors.items()}


@needs_keys
def test_the_average_has_the_published_names():
    for layout, keys in (("bbdm", "bbdm_lbbdm_f8"), ("cpdm", "cpdm")):
        found = read_published(layout, published(keys), keys)
        average = layouts.layout(layout).write(found.tensors, found.config)["ema"]
        prefixes = {"bbdm": ("denoise_fn.",), "cpdm": ("denoise_fn.", "cond_stage_model.", "cond_stage_model_1.")}[
            layout
        ]
        assert set(average) == {k for k in published(keys) if k.startswith(prefixes)}


def state_of(model):
    return {
        k: torch.randn_like(v) if "m_t" not in k and "variance" not in k else v for k, v in model.state_dict().items()
    }


@pytest.mark.parametrize("change", [
    {},
    {"in_channels": 3},
    {"resblock_updown": False, "conv_resample": True, "use_scale_shift_norm": False},
    {"resblock_updown": False, "channel_mult": [1, 2, 2], "num_res_blocks": 2, "attention_resolutions": [1, 4]},
    {"channel_mult": [1], "attention_resolutions": []},
])  # fmt: skip
def test_every_kind_of_network_is_recognised(change):
    network = {**UNET, **change}
    bridge = {"num_timesteps": 500, "max_var": 0.05, "schedule": "linear", "objective": "grad"}
    state = state_of(bbdm.model_of({"network": network, "bridge": bridge}))
    found = read_published("bbdm", state, "file").config
    if len(network["channel_mult"]) > 1:
        heads = {"num_head_channels", "num_heads", "use_new_attention_order"}
        assert {k: v for k, v in found["network"].items() if k not in heads} == {
            k: v for k, v in network.items() if k not in heads
        }
    assert found["bridge"] == bridge
    assert bbdm.model_of(found).load_state_dict(state)


def test_the_exponential_schedule_is_recognised():
    state = state_of(bbdm.model_of({"network": UNET, "bridge": {"schedule": "sin", "num_timesteps": 400}}))
    assert read_published("bbdm", state, "file").config["bridge"]["schedule"] == "sin"
    state["m_t"] = state["m_t"].sqrt()
    with pytest.raises(InputError, match=r"^file .* no linear or sin schedule of 400 steps"):
        read_published("bbdm", state, "file")


def latent_state(**change):
    network = {**UNET, "in_channels": 3}
    config = {**tiny.LBBDM, "network": network, "vqgan": VQGAN, **change}
    return state_of(lbbdm.model_of(config))


@pytest.mark.parametrize(("change", "words"), [
    (lambda s: s.pop("denoise_fn.out.2.weight"), "denoise_fn.out.2.weight"),
    (lambda s: s.pop("denoise_fn.out.0.weight"), "denoise_fn.out.0.weight"),
    (lambda s: s.pop("m_t"), "m_t"),
    (lambda s: s.pop("vqgan.quantize.embedding.weight"), "vqgan.quantize.embedding.weight"),
    (lambda s: s.update({"more": torch.zeros(1)}), "more"),
    (lambda s: s.update({"cond_stage_model_1.channel_mapper.weight": torch.zeros(1)}), "cond_stage_model_1"),
    (lambda s: s.update({"denoise_fn.out.2.bias": torch.zeros(7)}), "denoise_fn.out.2.bias"),
    (lambda s: s.update({"denoise_fn.time_embed.0.weight": torch.zeros(4)}), "denoise_fn.time_embed.0.weight"),
    (lambda s: s.update({"vqgan.encoder.conv_in.weight": torch.zeros(5, 1, 3, 3)}), "file"),
    (lambda s: s.update({"denoise_fn.out.2.weight": torch.zeros(9, 32, 3, 3)}), "found 3 and 9"),
    (lambda s: s.clear(), "denoise_fn.time_embed"),
])  # fmt: skip
def test_what_does_not_fit_is_named(change, words):
    state = latent_state()
    change(state)
    with pytest.raises(InputError, match=words) as caught:
        read_published("bbdm", state, "file")
    assert str(caught.value).startswith("file ")
    assert "\n" not in str(caught.value)


def test_files_of_others_are_refused():
    for state in ({"model1.0.weight": torch.zeros(3, 3)}, latent_state()):
        for name in ("cpdm", "vqgan"):
            with pytest.raises(InputError, match=r"^file does not fit"):
                read_published(name, dict(state), "file")


CPDM = {**tiny.CPDM, "network": {**UNET, "in_channels": 7}, "vqgan": VQGAN}


@pytest.mark.parametrize(("name", "layout", "config"), [
    ("bbdm", "bbdm", {"network": UNET, "bridge": tiny.COMMON["bridge"]}),
    ("lbbdm", "bbdm", {**tiny.LBBDM, "network": {**UNET, "in_channels": 3}, "vqgan": VQGAN}),
    ("lbbdm", "bbdm", {**tiny.LBBDM, "network": {**UNET, "in_channels": 3}, "vqgan": VQGAN, "normalised": True}),
    ("cpdm", "cpdm", CPDM),
    ("cpdm", "cpdm", {**CPDM, "context_slices": 1}),
])  # fmt: skip
def test_the_runners_file_goes_round(tmp_path, name, layout, config):
    """Import, run, export, import: the same weights; statistics of the latents lie beside the state dict."""
    state = state_of({"bbdm": bbdm, "lbbdm": lbbdm, "cpdm": cpdm}[name].model_of(config))
    beside = {k: state.pop(k) for k in lbbdm.STATISTICS if k in state}
    torch.save({"step": 3, "epoch": 1, "model": state, "ema": {}, **beside}, tmp_path / "published.pth")
    common = ["--layout", layout]
    for source, target in (("published.pth", "ours.safetensors"), ("back.pth", "again.safetensors")):
        arguments = [str(tmp_path / source), *common, "--size", "16", "16", "-o", str(tmp_path / target)]
        assert main(["import", *arguments]) == 0
        if target == "ours.safetensors":
            assert main(["export", str(tmp_path / target), *common, "-o", str(tmp_path / "back.pth")]) == 0
    ours, header = load_weights(tmp_path / "ours.safetensors")
    again, _ = load_weights(tmp_path / "again.safetensors")
    assert header["model"] == name
    assert header["config"].get("normalised", False) == bool(beside)
    assert header["config"].get("context_slices", 0) == config.get("context_slices", 0)
    assert ours.keys() == again.keys()
    assert all(torch.equal(again[k], v) for k, v in ours.items())
    back = torch.load(tmp_path / "back.pth", weights_only=True)
    assert set(back) == {"step", "epoch", "model", "ema", *beside}
    assert back["model"].keys() == state.keys()
    model = load(tmp_path / "ours.safetensors", device="cpu")
    assert model.translate(torch.zeros(1, 1, 16, 16), steps=1).shape == (1, 1, 16, 16)
    assert model.defaults["solver"] == "published"


def test_networks_of_our_own_kind_are_not_written(tmp_path):
    for layout, config in (("bbdm", tiny.LBBDM), ("cpdm", tiny.CPDM), ("vqgan", tiny.FIRST_STAGE)):
        with pytest.raises(InputError, match="does not exist in the published layout"):
            layouts.layout(layout).write(tiny.tensors({"bbdm": "lbbdm"}.get(layout, layout), config), config)


def test_a_network_of_velocities_is_not_written_for_code_that_takes_them_for_noise():
    process = {"training": {"objective": "velocity"}, "sampling": {"objective": "velocity"}}
    with pytest.raises(InputError, match="predicts velocity, and the published layout knows noise only"):
        layouts.layout("palette").write({}, process)


def test_a_first_stage_leaves_its_losses_behind(tmp_path):
    config = {**tiny.FIRST_STAGE, "network": VQGAN}
    state = tiny.tensors("vqgan", config)
    found = read_published("vqgan", {**state, "loss.logvar": torch.zeros(1)}, "file")
    assert found.tensors.keys() == state.keys()
    path = tmp_path / "vq.safetensors"
    save_weights(path, found.tensors, found.model, {**config, **found.config}, {})
    assert load(path, device="cpu").name == "vqgan"
