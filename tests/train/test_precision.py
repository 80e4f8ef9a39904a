"""What a training computes in: bfloat16 where the device has units for it, float32 elsewhere, said and put down."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from own_pairs import three_patients
from tiny_training import TinyCohort, tiny_recipe

from spectac_fast.device import has_bf16_units
from spectac_fast.models.networks.unet import UNetModel
from spectac_fast.train.learners.bridge import BridgeLearner
from spectac_fast.train.loop import optimise as loop
from spectac_fast.train.loop.budget import Budget
from spectac_fast.train.run import Options, train

CPU = torch.device("cpu")
AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_bf16": False, "amx_bf16": False}


def pretend(monkeypatch, capabilities, onednn=True):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)


@pytest.mark.parametrize(
    ("capabilities", "onednn", "expected"),
    [
        (AVX2, True, False),
        (AVX2 | {"avx512_bf16": True}, True, True),
        (AVX2 | {"amx_bf16": True}, True, True),
        (AVX2 | {"amx_bf16": True}, False, False),
        ({"architecture": "arm64", "neon": True, "bf16": True}, True, True),
        ({"architecture": "arm64", "neon": True, "bf16": False}, True, False),
        ({"architecture": "ppc64"}, True, False),
    ],
)
def test_units_of_a_cpu(monkeypatch, capabilities, onednn, expected):
    pretend(monkeypatch, capabilities, onednn)
    assert has_bf16_units(CPU) is expected


def test_units_are_told_by_the_names_torch_has_for_them():
    """On x86 and Arm the facts hold one of the names that are looked for; they may be true or not."""
    facts = torch.cpu.get_capabilities()
    if facts["architecture"] in ("x86_64", "arm64", "aarch64"):
        assert {"avx512_bf16", "amx_bf16"} <= set(facts) or "bf16" in facts


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_units_of_a_gpu():
    for device in (torch.device("cuda"), torch.device("cuda", torch.cuda.device_count() - 1)):
        assert has_bf16_units(device) is (torch.cuda.get_device_capability(device) >= (8, 0))


def asking(precision):
    return dataclasses.replace(tiny_recipe(), precision=precision)


@pytest.mark.parametrize(
    ("asked", "units", "used"), [("bf16", False, "fp32"), ("bf16", True, "bf16"), ("fp32", True, "fp32")]
)
def test_a_run_computes_in_what_the_device_has_and_says_so(monkeypatch, caplog, tmp_path, asked, units, used):
    pretend(monkeypatch, AVX2 | {"avx512_bf16": units})
    computed = set()
    forward = UNetModel.forward
    monkeypatch.setattr(
        UNetModel,
        "forward",
        lambda self, *a, **k: computed.add(torch.is_autocast_enabled("cpu")) or forward(self, *a, **k),
    )
    train(TinyCohort([3]), None, tmp_path, asking(asked), Options(Budget(steps=2)))
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["precision"] == {used: 2}
    assert card["recipe"]["precision"] == asked
    assert computed == {used == "bf16"}
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    expected = [f"the recipe {tiny_recipe().name} asks for bf16, which this device can only emulate: training in fp32."]
    assert said == (expected if used != asked else [])


class Killed(Exception):
    pass


def test_a_run_goes_on_in_another_precision_and_its_card_counts_both(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(loop, "_SAVE_EVERY_S", 0.0)
    cohort, recipe, step = TinyCohort([3]), asking("bf16"), BridgeLearner.step
    pretend(monkeypatch, AVX2 | {"avx512_bf16": True})

    def fail(self, number):
        if number == 3:
            raise Killed
        return step(self, number)

    monkeypatch.setattr(BridgeLearner, "step", fail)
    with pytest.raises(Killed):
        train(cohort, None, tmp_path, recipe, Options(Budget(steps=5)))
    monkeypatch.setattr(BridgeLearner, "step", step)
    assert not caplog.records
    pretend(monkeypatch, AVX2)
    train(cohort, None, tmp_path, recipe, Options(Budget(steps=5), resume=True))
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.endswith("the run was begun with 3 steps in bf16: training in fp32.")
    assert json.loads((tmp_path / "card.json").read_text())["precision"] == {"bf16": 3, "fp32": 2}


def test_the_command_says_it_once_and_ends_by_slices(tmp_path):
    three_patients(tmp_path / "own", np.random.default_rng(3))
    recipe = tmp_path / "tiny.json"
    recipe.write_text(json.dumps(asking("bf16").as_dict()))
    words = [
        "train",
        "bbdm",
        "--data",
        tmp_path / "own",
        "-o",
        tmp_path / "run",
        "--recipe",
        recipe,
        "--max-slices",
        "20",
    ]
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words), "-d", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("emulate: training in fp32.\n") == (not has_bf16_units(CPU))
    card = json.loads((tmp_path / "run" / "card.json").read_text())
    assert (card["slices"], card["precision"]) == (24, {"bf16" if has_bf16_units(CPU) else "fp32": 3})
