"""`spectac import` and `spectac export`: good files go both ways, bad ones end in one sentence and leave nothing."""

from __future__ import annotations

import json

import pytest
import torch
from tiny_palette import palette_state

from spectac_fast.checkpoints import layouts
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.cli import main
from spectac_fast.errors import UsageError
from spectac_fast.models.names import BUILDERS
from spectac_fast.models.registry import load


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "100_Network.pth"
    torch.save(palette_state(), path)
    return path


def import_palette(path, *more):
    return main(["import", str(path), "--layout", "palette", "-o", str(path.parent / "out.safetensors"), *more])


def test_import_makes_a_model(checkpoint, capsys):
    assert import_palette(checkpoint, "--gain", "1.5", "--size", "16", "16", "--pixel-mm", "4") == 0
    assert "palette: " in capsys.readouterr().out
    out = checkpoint.parent / "out.safetensors"
    tensors, header = load_weights(out)
    state = palette_state()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], value) for name, value in state.items())
    config = header["config"]
    assert (config["gain"], config["size"], config["fit"], config["pixel_mm"], config["slice_mm"]) == (
        1.5, [16, 16], "resize", 4.0, 6.8,
    )  # fmt: skip
    assert header["card"]["layout"] == "palette"
    assert header["card"]["averaged"] is False
    translator = load(out, device="cpu")
    assert translator.translate(torch.zeros(1, 1, 8, 8), steps=2).shape == (1, 1, 8, 8)


def test_what_is_not_given_is_as_shipped(checkpoint):
    assert import_palette(checkpoint) == 0
    config = load_weights(checkpoint.parent / "out.safetensors")[1]["config"]
    assert config["gain"] == load("identity", device="cpu").gain
    assert (config["pixel_mm"], config["slice_mm"], config["size"]) == (6.8, 6.8, [256, 256])


def test_settings_replace_the_layouts_own(checkpoint):
    assert import_palette(checkpoint, "--set", "defaults.steps=25", "--set", "defaults.solver=ddim") == 0
    config = load_weights(checkpoint.parent / "out.safetensors")[1]["config"]
    assert config["defaults"] == {"steps": 25, "samples": 1, "solver": "ddim", "eta": 1.0}


def test_wrapped_names_are_understood(checkpoint):
    torch.save({f"module._orig_mod.{name}": value for name, value in palette_state().items()}, checkpoint)
    assert import_palette(checkpoint) == 0
    assert load_weights(checkpoint.parent / "out.safetensors")[0].keys() == palette_state().keys()


def test_export_brings_back_what_was_imported(checkpoint, capsys):
    assert import_palette(checkpoint) == 0
    back = checkpoint.parent / "back.pth"
    out = checkpoint.parent / "out.safetensors"
    assert main(["export", str(out), "--layout", "palette", "-o", str(back)]) == 0
    found = torch.load(back, weights_only=True)
    state = palette_state()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert "gammas" in found
    assert import_palette(back) == 0
    again, header = load_weights(out)
    assert all(torch.equal(again[name], value) for name, value in state.items())
    assert header["config"]["training"]["num_timesteps"] == 2000
    assert "written to" in capsys.readouterr().out


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def other_model(path):
    torch.save({"model.1.weight": torch.zeros(64, 1, 7, 7), "model.1.bias": torch.zeros(64)}, path)


def half_a_file(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def text(path):
    path.write_text("epoch,loss\n1,0.5\n")


def code(path):
    torch.save({**palette_state(), "more": Trap(path.parent / "sprung")}, path)


def wrong_channels(path):
    torch.save(palette_state(3, 1), path)


def one_missing(path):
    torch.save({k: v for k, v in palette_state().items() if k != "denoise_fn.middle_block.1.qkv.bias"}, path)


def one_too_many(path):
    torch.save({**palette_state(), "denoise_fn.extra": torch.zeros(2)}, path)


def one_of_another_shape(path):
    torch.save({**palette_state(), "denoise_fn.middle_block.1.qkv.bias": torch.zeros(7)}, path)


def another_schedule(path):
    buffers = {name: torch.rand(10).sort(descending=True).values for name in layouts.layout("palette")._BUFFERS}
    torch.save({**palette_state(), **buffers}, path)


def gone(path):
    path.unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (other_model, "model.1.bias"),
        (half_a_file, "damaged"),
        (text, "another kind"),
        (code, "no code in it was run"),
        (wrong_channels, "takes 3 channels and gives 1"),
        (one_missing, "lacks denoise_fn.middle_block.1.qkv.bias"),
        (one_too_many, "denoise_fn.extra is unknown"),
        (one_of_another_shape, "has shape [7]"),
        (another_schedule, "none of linear"),
        (gone, "does not exist"),
    ],
)
def test_bad_checkpoints_end_in_one_sentence(checkpoint, capsys, spoil, said):
    spoil(checkpoint)
    before = sorted(checkpoint.parent.iterdir())
    assert import_palette(checkpoint) == 2
    error = capsys.readouterr().err
    assert error.startswith("spectac: ")
    assert error.count("\n") == 1
    assert said in error
    assert checkpoint.name in error
    assert ".trial" not in error
    assert sorted(checkpoint.parent.iterdir()) == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--ema"], "no averaged weights"),
        (["--set", "bridge.objective=x0"], "expected NAME=VALUE with a NAME among"),
        (["--set", "clip"], "expected NAME=VALUE"),
        (["--set", "network.num_head_channels=0"], "cannot be used"),
        (["--set", "network.in_channels=-2"], "of its header, found"),
        (["--set", "network.channel_mult=wide"], "of its header, found"),
        (["--set", "network=7"], "cannot be used"),
        (["--set", "sampling.beta_end=7"], "beta_start, beta_end"),
        (["--size", "31", "31"], "divisible"),
        (["--layout", "unheard"], "--layout must be one of"),
        (["-o", "out.pth"], "-o must name a .safetensors file"),
        (["-o", "nowhere/out.safetensors"], "does not exist"),
    ],
)
def test_bad_arguments_end_in_one_sentence(checkpoint, capsys, monkeypatch, more, said):
    monkeypatch.chdir(checkpoint.parent)
    assert import_palette(checkpoint, *more) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert sorted(checkpoint.parent.iterdir()) == [checkpoint]


def test_export_refuses_other_models_and_files(checkpoint, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    save_weights(other, {"a": torch.zeros(1)}, "nonsense", {}, {})
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(other.read_bytes()[:50])
    for path in (other, torn, tmp_path / "missing.safetensors"):
        before = sorted(tmp_path.iterdir())
        assert main(["export", str(path), "--layout", "palette", "-o", str(tmp_path / "out.pth")]) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert sorted(tmp_path.iterdir()) == before
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"format": 1}))
    assert main(["export", str(row), "--layout", "palette", "-o", str(tmp_path / "out.pth")]) == 2


def test_every_layout_says_what_it_is_for():
    assert "palette" in layouts.names()
    for name in layouts.names():
        module = layouts.layout(name)
        assert set(module.MODELS) <= BUILDERS.keys(), name
        assert callable(module.read), name
        assert callable(module.write), name
    with pytest.raises(UsageError, match="found 'none'"):
        layouts.layout("none")
