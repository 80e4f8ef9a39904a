"""The comparison with the published code, as far as it needs no checkout of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from bench.published import published_code
from bench.published.checkout import TEMPLATE, template


def test_a_folder_without_the_published_code_is_named(tmp_path):
    with pytest.raises(SystemExit, match=f"{tmp_path.name}: expected a checkout of the published code with {TEMPLATE}"):
        template(tmp_path, 4)


def test_a_template_takes_the_steps_and_brings_no_first_stage_of_its_own(tmp_path):
    path = tmp_path / TEMPLATE
    path.parent.mkdir()
    path.write_text(
        "model:\n  VQGAN: {params: {ckpt_path: 'x.ckpt', ddconfig: {ch_mult: !!python/tuple [1, 2]}}}\n"
        "  BB: {params: {sample_step: 200}}\n"
    )
    model = template(tmp_path, 4)["model"]
    assert model["BB"]["params"]["sample_step"] == 4
    assert model["VQGAN"]["params"] == {"ckpt_path": None, "ddconfig": {"ch_mult": (1, 2)}}


def test_rounds_go_in_turns_and_ratios_are_of_a_round():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in ("published", "ours")}
    found = published_code.timed(calls, rounds=3)
    assert order == ["published", "ours"] * 4
    assert len(found["ratios"]) == 3
    assert min(found["ratios"]) <= found["ratio"] <= max(found["ratios"])


def test_operators_are_counted():
    a = torch.randn(3)
    assert published_code.calls_of(lambda: (a + 1) * a) == 2


def test_the_page_says_what_was_reached_beside_the_goal():
    row = {"published": 2.0, "ours": 1.0, "ratio": 2.0, "ratios": [1.5, 2.0, 2.5]}
    rows = [
        row | {"batch": 8, "part": f"{published_code.NETWORK}, 4 steps"},
        row | {"batch": 8, "part": "VQGAN encodes"},
    ]
    facts = {"machine": "m", "commit": "c", "steps": 4, "difference": 6e-5, "calls": {"published": 9, "ours": 5}}
    text = published_code.page(facts | {"rows": rows})
    assert "| 8 | bridge between latents, 4 steps | 2.000 | 1.000 | 2.00 | 1.50 - 2.50 | 2.4 |" in text
    assert "| 8 | VQGAN encodes | 2.000 | 1.000 | 2.00 | 1.50 - 2.50 |  |" in text


def test_the_script_hands_over_its_arguments(tmp_path):
    script = Path(published_code.__file__).parents[1] / "published.sh"
    found = subprocess.run([script, tmp_path, "--steps", "3"], env=os.environ, capture_output=True, text=True)
    assert found.returncode == 1
    assert "expected a checkout of the published code" in found.stderr
