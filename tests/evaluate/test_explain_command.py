"""`spectac explain`: pictures and figures of a study, through the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fake_study import heart, write_nc
from PIL import Image

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.cli import main
from spectac_fast.evaluate.explanation import wall
from spectac_fast.models.networks.build import build_network

CONFIG = {
    "network": {
        "kind": "folded_unet", "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1,
        "attention_resolutions": [2], "num_head_channels": 8, "head_channels": 2, "norm_groups": 4,
    },
    "gain": 1.7, "pixel_mm": 6.8, "slice_mm": 6.8, "size": [24, 24],
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    draws = torch.Generator().manual_seed(1)
    state = build_network(CONFIG["network"]).state_dict()
    tensors = {f"denoise_fn.{k}": 0.1 * torch.randn(v.shape, generator=draws) for k, v in state.items()}
    save_weights(path, tensors, "regression", CONFIG, {})
    return path


@pytest.fixture
def explain(weights, tmp_path, capsys):
    def run(*words, model=weights):
        code = main(["explain", *map(str, words), "-o", str(tmp_path / "out"), "-m", str(model), "-d", "cpu"])
        return code, capsys.readouterr()

    return run


def write(folder, key="one", planes=("SA", "HLA")):
    rng = np.random.default_rng(3)
    for plane in planes:
        write_nc(folder / f"{plane}.dcm", heart(rng, (9, 48, 60)), plane=plane, study_key=key, pixel_mm=(6.8, 5.5))
    return folder


def test_a_study_gets_a_picture_a_phase_and_its_figures(explain, tmp_path):
    code, said = explain(write(tmp_path / "in"), "--slice", "4")
    out = tmp_path / "out"
    assert (code, said.out.split()) == (0, [str(out / "explain-stress.png"), str(out / "explain.json")])
    with Image.open(out / "explain-stress.png") as picture:
        pixels = np.asarray(picture.convert("RGB"))
    # The blue outline is there, and neither the page nor a tile is empty.
    assert ((pixels == (0x39, 0xD5, 0xFF)).all(axis=-1)).sum() > 50
    assert 0.2 < (pixels == 255).all(axis=-1).mean() < 0.9
    rows = json.loads((out / "explain.json").read_text())["slices"]
    assert [(row["plane"], row["slice"]) for row in rows] == [("SA", 4), ("HLA", 4)]
    for row in rows:
        assert abs(row["attributed"] - (row["value"] - row["baseline"])) == pytest.approx(row["gap"], abs=3e-5)
        assert row["gap"] < 1e-3 * max(1.0, abs(row["value"] - row["baseline"]))
        assert row["attention_blocks"]
    assert not list(out.glob("*.part"))


def test_every_study_has_a_folder_and_what_fails_is_said(explain, tmp_path):
    for name in "ab":
        write(tmp_path / "in" / name, name, planes=("SA",))
    write_nc(tmp_path / "in" / "c.dcm", np.ones((9, 24, 24), np.float32), corrected=True, study_key="c")
    code, said = explain(tmp_path / "in")
    assert code == 1
    assert len(list((tmp_path / "out").glob("*/explain-stress.png"))) == 2
    assert "failed: " in said.out
    assert "c.dcm: expected NC series of this study, found none." in said.out
    code, said = explain(tmp_path / "in" / "a", "--slice", "10")
    assert code == 1
    assert "SA.dcm: expected at least 10 slices, found 9." in said.out


def test_who_cannot_is_told_so_in_a_sentence(explain, tmp_path):
    code, said = explain(write(tmp_path / "in"), model="linear")
    assert (code, said.err.count("\n")) == (2, 1)
    assert "linear has no gradient" in said.err
    (tmp_path / "empty").mkdir()
    assert explain(tmp_path / "empty")[0] == 3
    (tmp_path / "out").write_text("in the way")
    code, said = explain(tmp_path / "in")
    assert code == 4
    assert "expected a folder" in said.err


def test_the_wall_is_the_bright_part_near_the_middle():
    nc = np.full((40, 40), -1.0, np.float32)
    nc[17:23, 17] = 1.0
    nc[:6, :6] = 9.0  # a liver
    found = wall(nc, (6.8, 6.8))
    assert found[17:23, 17].all()
    assert found.sum() == 6
    assert wall(np.full((5, 5), -1.0, np.float32), (60.0, 60.0)).any()
