"""`python -m bench ship`: files dropped in are models by name; what is too large stays away."""

import argparse
import json

import pytest
import torch
from small_recipes import small
from tiny_training import TinyCohort

from bench.pages import ship
from spectac_fast.errors import SetupError
from spectac_fast.models import names
from spectac_fast.models.registry import load
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A finished run of pix2pix, a table with its row, and an empty folder of weights but for bbdm's file."""
    shelf = tmp_path / "weights"
    shelf.mkdir()
    (shelf / "bbdm64.safetensors").write_bytes(b"x" * 1000)
    for module in (ship, names):
        monkeypatch.setattr(module, "FOLDER", shelf)
    run = tmp_path / "table1" / "pix2pix"
    made = train(TinyCohort([1], side=32), None, run, small("pix2pix"), Options(budget=Budget(steps=1)))
    made.rename(run / "pix2pix64.safetensors")
    cells = {key: {"value": 0.123456} for key in ("ssim", "psnr", "rmse", "rmse_over_linear")}
    row = {"name": "pix2pix", "label": "pix2pix", "whole": cells, "heart": cells}
    head = {"case_seeds": [600_000, 600_001], "patients": 2, "commit": "abc"}
    (tmp_path / "table.json").write_text(json.dumps({"rows": [row], "head": head}))
    return shelf, argparse.Namespace(work=tmp_path, table=tmp_path / "table.json")


def test_a_finished_run_becomes_a_model_by_name(folders, capsys):
    shelf, arguments = folders
    assert names.shipped() == ["bbdm"]
    with pytest.raises(SetupError, match=r"pix2pix64\.safetensors is missing"):
        load("pix2pix", device="cpu")
    assert ship.run(arguments) == 0
    assert names.shipped() == ["bbdm", "pix2pix"]
    nc = torch.rand(1, 1, 32, 32) * 2 - 1
    assert load("pix2pix", device="cpu").translate(nc).shape == nc.shape
    assert json.loads((shelf / "pix2pix64.json").read_text())["steps"] == 1
    assert "RMSE 0.1235 heart region" in (shelf / "pix2pix64.md").read_text()
    assert "unit: not finished" in capsys.readouterr().out


def test_the_card_of_a_model_of_ones_own_pairs(folders):
    """Trained and measured on pairs: digests stand where synthetic patients have seeds."""
    _, arguments = folders
    (row,), head = (json.loads(arguments.table.read_text())[key] for key in ("rows", "head"))
    card = json.loads((arguments.work / "table1" / "pix2pix" / "card.json").read_text())
    assert "1 patients: synthetic ones (seeds 1–1)" in ship.model_card("pix2pix", card, [row], head)
    card["data"] = {"training_pairs_sha256": "ab" * 32, "cases": 7, "slices": 70}
    text = ship.model_card("pix2pix", card, [row], head)
    assert f"7 patients: pairs of one's own (SHA-256 of their NC counts {'ab' * 8}); 70 slices" in text
    assert "2 synthetic patients (seeds 600000–600001), never trained on" in text
    assert "one tracer" not in text
    own = head | {"case_seeds": None, "pairs_sha256": "cd" * 32}
    assert f"NC counts {'cd' * 8}), not the set that was trained on" in ship.model_card("pix2pix", card, [row], own)
    own["seen_in_training"] = {"pix2pix": 2}
    assert "2 of them trained on" in ship.model_card("pix2pix", card, [row], own)
    card["data"]["training_seeds"] = [[0, 3], [9, 9]]
    assert "synthetic ones (seeds 0–3, 9–9) and pairs of one's own" in ship.model_card("pix2pix", card, [row], own)


def test_what_is_too_large_stays_away(folders, monkeypatch):
    shelf, arguments = folders
    monkeypatch.setattr(ship, "LARGEST", 1000)
    assert ship.run(arguments) == 0
    assert [path.name for path in shelf.iterdir()] == ["bbdm64.safetensors"]


def test_what_is_worse_than_a_line_stays_away(folders, capsys):
    shelf, arguments = folders
    table = json.loads(arguments.table.read_text())
    for region in ("whole", "heart"):
        table["rows"][0][region]["rmse_over_linear"]["value"] = 1.01
    arguments.table.write_text(json.dumps(table))
    assert ship.run(arguments) == 0
    assert "pix2pix: stays away, no better than the linear row" in capsys.readouterr().out
    assert [path.name for path in shelf.iterdir()] == ["bbdm64.safetensors"]
