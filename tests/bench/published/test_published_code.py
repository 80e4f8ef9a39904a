"""The comparison with the published code, as far as it needs no checkout of it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.published import published_code
from bench.published.checkout import TEMPLATE, template
from spectac_fast.errors import UsageError


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
    row = {"published": 2.0, "ours": 1.0, "ratio": 2.0, "ratios": [1.5, 2.0, 2.5], "commit": "c"}
    rows = [
        row | {"batch": 8, "part": f"{published_code.NETWORK}, 4 steps"},
        row | {"batch": 8, "part": "VQGAN encodes"},
    ]
    facts = {"machine": "m", "steps": 4, "difference": 6e-5, "calls": {"published": 9, "ours": 5}}
    text = published_code.page(facts | {"rows": rows})
    assert "| 8 | bridge between latents, 4 steps | 2.000 | 1.000 | 2.00 | 1.50 - 2.50 | 2.4 | c |" in text
    assert "| 8 | VQGAN encodes | 2.000 | 1.000 | 2.00 | 1.50 - 2.50 |  | c |" in text


def test_pieces_join_into_one_page(tmp_path):
    """A row that is measured again takes the place of its own; the others stay, with their commit."""
    path, where = tmp_path / "published.json", {"machine": "m", "steps": 4}
    assert published_code.rows_of(path, where) == []
    bridge, encodes = f"{published_code.NETWORK}, 4 steps", "VQGAN encodes"
    rows = [{"batch": batch, "part": part, "ours": 1.0} for batch in (1, 8) for part in (bridge, f"bf16 {bridge}")]
    path.write_text(json.dumps(where | {"commit": "old", "rows": rows}))
    new = [{"batch": batch, "part": part, "ours": 2.0, "commit": "new"} for batch, part in ((8, bridge), (1, encodes))]
    found = published_code.joined(published_code.rows_of(path, where), new)
    assert [(row["batch"], row["part"], row["ours"], row["commit"]) for row in found] == [
        (1, bridge, 1.0, "old"),
        (1, f"bf16 {bridge}", 1.0, "old"),
        (1, encodes, 2.0, "new"),
        (8, bridge, 2.0, "new"),
        (8, f"bf16 {bridge}", 1.0, "old"),
    ]
    path.write_text(json.dumps(where | {"rows": found}))
    assert published_code.rows_of(path, where) == found
    with pytest.raises(UsageError, match="expected results of steps 200, found 4"):
        published_code.rows_of(path, where | {"steps": 200})


def test_a_part_is_made_when_it_is_timed():
    """Encoding eight slices takes ten seconds: only a part that begins at latents does it."""
    ran = []

    def side(name):
        return SimpleNamespace(
            encode=lambda x: ran.append(f"{name} encodes") or x[:, :1, ::8, ::8],
            decode=lambda z: ran.append(f"{name} decodes {tuple(z.shape)}"),
        )

    parts = published_code.parts(side("published"), SimpleNamespace(model=side("ours")), batch=2, steps=4)
    assert [part for part in parts if not part.startswith(published_code.PARTS)] == []
    assert ran == []
    for part in ("VQGAN encodes", "VQGAN decodes"):
        for call in parts[part]().values():
            call()
    first, *rest = (f"{name} encodes" for name in ("published", "ours"))
    assert ran == [first, *rest, first, "published decodes (2, 1, 32, 32)", "ours decodes (2, 1, 32, 32)"]


def test_the_script_hands_over_its_arguments(tmp_path):
    script = Path(published_code.__file__).parents[1] / "published.sh"
    found = subprocess.run([script, tmp_path, "--steps", "3"], env=os.environ, capture_output=True, text=True)
    assert found.returncode == 1
    assert "expected a checkout of the published code" in found.stderr


def test_what_torch_is_held_to_is_said(monkeypatch):
    for name in ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS"):
        monkeypatch.delenv(name, raising=False)
    assert published_code.held() == ""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert published_code.held() == "; ONEDNN_MAX_CPU_ISA=AVX2"
