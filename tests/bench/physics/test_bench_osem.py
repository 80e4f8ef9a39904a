"""The benchmark of reconstruction: both sides make one image, rounds go in turns, the page judges by its goals."""

from __future__ import annotations

import numpy as np
import torch
from fake_patient import write_patient

from bench.physics import osem


def test_both_sides_reconstruct_the_same():
    for blurred in (True, False):
        calls = osem.osem_calls(torch.Generator(), blurred=blurred, side=16, views=16)
        ours, plain = (calls[name]() for name in ("ours", "plain torch"))
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4 * float(plain.max()))


def test_rounds_go_in_turns():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in ("ours", "plain torch")}
    row = osem.timed("x", calls, rounds=3)
    assert order == ["ours", "plain torch"] * 4
    assert row["ours"]["clock"] > 0
    assert row["ratio"] > 0


def test_the_page_judges_by_the_clock():
    names = list(osem.GOALS)
    ours = {"clock": 0.1, "cpu": 0.2}
    rows = [
        {"name": names[0], "ours": ours, "plain torch": {"clock": 1.0, "cpu": 2.0}, "ratio": 10.0},
        {"name": names[1], "ours": ours, "plain torch": {"clock": 0.5, "cpu": 1.0}, "ratio": 5.0},
        {"name": names[2], "ours": ours},
    ]
    text = osem.page({"machine": "m", "commit": "c", "rounds": 3, "rows": rows})
    assert f"| {names[0]} | 0.100 | 0.200 | 1.00 | 10.0 | 0.15 | reached |" in text
    assert f"| {names[1]} | 0.100 | 0.200 | 0.50 | 5.0 | 0.06 | missed |" in text
    assert f"| {names[2]} | 0.100 | 0.200 | – | – | 0.8 | reached |" in text


def test_projections_become_files(tmp_path):
    file = write_patient(tmp_path / "tomo.dcm", np.random.default_rng())
    osem.file_to_files(file, tmp_path / "out", "chang")()
    assert {path.name.split("_")[-2] for path in (tmp_path / "out").rglob("*.dcm")} == {"NC", "AC"}
