"""The latency benchmark: the published arithmetic it measures against, its table, and where the time is looked for."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from golden_bridge import GoldenBridge, needs_golden

from bench.__main__ import main
from bench.quality.parts import content
from bench.quality.solvers import SOLVERS, translate_options
from bench.speed import latency, workloads
from bench.speed.latency_goals import Sample, equal_sample, goals, judged, standard
from bench.speed.published import PublishedSampler
from spectac_fast.cli import main as spectac
from spectac_fast.data import demo
from spectac_fast.diffusion.bridge import BrownianBridge
from spectac_fast.diffusion.solvers import solver_table
from spectac_fast.formats.dicom import read_series
from spectac_fast.models.networks.unet import UNetModel
from spectac_fast.models.registry import load
from spectac_fast.tracing import PHASES, phase, tracing


@needs_golden
def test_the_published_arithmetic_is_the_published_one(monkeypatch):
    golden = GoldenBridge("bbdm")
    noises = iter(golden.io["noises"])
    monkeypatch.setattr(torch, "randn_like", lambda x: next(noises))
    sampler = PublishedSampler(golden.model.denoise_fn, golden.bridge, 10, torch.device("cpu"))
    assert sampler.steps == golden.schedule["steps"].tolist()
    y = golden.io["y_latent"]
    assert float((sampler(y, y) - golden.io["final"]).abs().max()) < 1e-4


def test_a_page_and_a_table(tmp_path, monkeypatch, capsys):
    threads = torch.get_num_threads()
    size = ["--model", "bbdm", "--batch", "1,3", "--steps", "3", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", ["bench", "latency", *size, "--device", "cpu", "--seconds", "0", "--threads", "1"])
    try:
        assert main() == 0
    finally:
        torch.set_num_threads(threads)
    with (tmp_path / "latency_cpu.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["steps"], row["batch"]) for row in rows] == [("3", "1"), ("3", "3")]
    for row in rows:
        assert 0 < float(row["p20"]) <= float(row["median"]) <= float(row["p80"]) <= float(row["p99"])
        assert 0.3 < float(row["network"]) < 1
    page = (tmp_path / "latency_cpu.md").read_text()
    assert all(line in page for line in capsys.readouterr().out.splitlines())


@pytest.mark.parametrize("model", [workloads.PAPER, workloads.PAPER_WHOLE, "bbdm"])
def test_both_sides_of_a_row_do_the_same_work(model, monkeypatch):
    """One evaluation draws nothing: the images agree."""
    monkeypatch.setattr(workloads, "paper_network", small_paper_network)
    sizes = {"ch": 4, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "attn_levels": [], "norm_groups": 2, "n_embed": 64}
    monkeypatch.setattr(workloads, "_VQGAN_F8", workloads._VQGAN_F8 | sizes)
    calls = workloads.workload(model, 2, 1, 1, torch.device("cpu"))
    ours, published = calls.ours(), calls.published()
    assert ours.shape == {workloads.PAPER: (2, 4, 32, 32), workloads.PAPER_WHOLE: (2, 1, 256, 256)}.get(
        model, (2, 1, 64, 64)
    )
    assert float((ours - published).abs().max()) < 1e-4 * max(1.0, float(ours.abs().max()))
    assert torch.isfinite(workloads.workload(model, 1, 4, 3, torch.device("cpu")).ours()).all()


def small_paper_network(device):
    """LBBDM-f8's kind of network, a hundredth as wide."""
    torch.manual_seed(1)
    network = UNetModel(
        in_channels=4, model_channels=16, out_channels=4, num_res_blocks=1, attention_resolutions=[],
        channel_mult=[1, 2], num_head_channels=16, use_scale_shift_norm=True, resblock_updown=True, norm_groups=4,
    ).eval().requires_grad_(False)  # fmt: skip
    for parameter in network.parameters():
        parameter.copy_(torch.randn_like(parameter) / max(parameter[0].numel(), 16) ** 0.5)
    return network, BrownianBridge()


def test_goals_are_judged_by_their_own_rows():
    wanted = goals(1, 6, Sample(4, "UniPC"))
    assert {goal.case for goal in wanted if goal.device == "cpu"} < set(standard("cpu", wanted))
    values = {"ratio": 1.2, "outside": 1.0, "median": 120.0, "slices_per_s": float("nan")}
    told = list(judged(wanted, "cpu", lambda case, name: None if case.batch == 8 else values[name]))
    assert len(told) == len(wanted)
    by_name = {cells[0]: cells for cells in told if cells[1] == "CPU, 2 threads"}
    assert by_name["same steps, LBBDM-f8 sizes, batch 1"][2:] == ("at least 1.4", "1.2", "missed by 14 %")
    assert by_name["same steps, LBBDM-f8 sizes, batch 8"][3:] == ("-", "not measured")
    assert by_name["outside the network, 200 steps, %"][2:] == ("at most 2", "1", "reached")
    assert by_name["native 64, the default, one slice, ms"][4] == "missed by 100 %"
    assert by_name["native 64, the default, slices/s"][4] == "not measured"
    assert {cells[4] for cells in told if cells[1] == "GPU"} == {"not yet run: `bench/gpu.sh`"}


def test_both_samples_of_equal_quality_have_a_row_of_their_own():
    asked = {(goal.case.steps, goal.case.solver) for goal in goals(1, 6, Sample(4, "UniPC")) if "sample" in goal.name}
    assert asked == {(4, "UniPC"), (6, None)}
    assert {goal.case.steps for goal in goals(1, 6, None) if "sample" in goal.name} == {6}


def test_the_cheapest_sample_is_what_quality_measured_of_the_same_weights(tmp_path):
    result, translator = latency.RESULTS / "quality-cost" / "measured_cpu.json", load("bbdm", "cpu")
    content = json.loads(result.read_text())
    # Of the weights that it was measured of, which need not be those that ship.
    translator.weights_sha256 = content["facts"]["model"].rpartition(" ")[2]
    found = equal_sample(result, translator)
    assert f"**{found.evaluations}** ({found.solver})" in (result.parent / "table_cpu.md").read_text()
    for row in content["rows"]:
        row["sample"] = (row["solver"], row["evaluations"]) == ("DBIM-3", 8)
    changed = tmp_path / "measured.json"
    changed.write_text(json.dumps(content))
    assert equal_sample(changed, translator) == Sample(8, "DBIM-3")
    for row in content["rows"]:
        row["sample"] = row["solver"] == "fitted"
    changed.write_text(json.dumps(content))
    assert equal_sample(changed, translator) is None
    translator.fitted = {6: solver_table(translator.model.bridge, 6)}
    assert equal_sample(changed, translator) == Sample(6, "fitted")
    translator.weights_sha256 = "0" * 64
    assert equal_sample(changed, translator) is None
    assert equal_sample(tmp_path / "none.json", translator) is None


@pytest.mark.parametrize("name", SOLVERS)
def test_a_translator_draws_by_the_solver_that_quality_measured(name):
    translator = load("bbdm", "cpu")
    options = {"order": None, "eta": None} | translate_options(name)
    table = translator.sampler(5, **options).table
    assert content(table) == content(solver_table(translator.model.bridge, 5, **SOLVERS[name]))


def test_phases_are_seen_only_within(monkeypatch):
    clock = latency.PhaseClock()
    with tracing(clock.range):
        for _ in range(3):
            with phase("network"):
                pass
    with phase("network"):
        pass
    assert clock.calls == {"network": 3}
    assert clock.seconds["network"] >= 0


def test_profile_prints_the_phases(tmp_path, capsys):
    study = demo.unpack(tmp_path)
    one = next(path for path in study if not read_series(path).attenuation_corrected)
    assert spectac(["profile", "-i", str(one), "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for name in PHASES:
        assert f"\n{name} " in out
    assert "group_norm_silu" in out


def test_profile_refuses_a_folder_without_studies(tmp_path, capsys):
    assert spectac(["profile", "-i", str(tmp_path), "--device", "cpu"]) != 0
    assert capsys.readouterr().err
