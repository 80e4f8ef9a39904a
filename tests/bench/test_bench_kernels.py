"""The benchmark of the operators: what it finds, what it says of goals, and that nothing missing goes unsaid."""

from __future__ import annotations

import argparse
import csv
import zipfile

import pytest
import torch

from bench.pages import readme
from bench.speed import kernels, peers
from bench.speed.case import COPY, Case, Goal
from bench.speed.report import OURS, Measured, goal_rows, judge, markdown
from bench.speed.timing import Times, quantiles, ratio

GOALS = (Goal("slow", 2), Goal("fast", 2), Goal("gone", 2), Goal("all", 2), Goal(COPY, 0.8), Goal(COPY, 0.9, None))


@pytest.fixture
def measured():
    case = Case("an_op", "3x3", int, {"slow": int, "fast": int}, 8, GOALS, groups={"all": ("slow", "fast", "gone")})
    advantage = {OURS: 1.0, COPY: 0.72, "slow": 4.0, "fast": 1.5}
    return Measured(case, 2, dict.fromkeys(advantage, Times(1, 1, 2, 3)), advantage, {"gone": "gone is not installed"})


def test_goals_are_judged(measured):
    assert [judge(measured, goal) for goal in GOALS[:5]] == [
        ("4.0 x", "reached"),
        ("1.5 x", "missed by 25 %"),
        ("-", "open, missing: gone, gone is not installed"),
        ("1.5 x (fast)", "missed by 25 %, without gone"),
        ("72 %", "missed by 10 %"),
    ]


def test_a_goal_of_the_gpu_is_listed_once_as_not_yet_run(measured):
    rows = list(goal_rows([measured, measured], on_gpu=False))
    assert [row for row in rows if "GPU" in row] == ["| an_op | 3x3 | GPU | 90 % of copy | - | not yet run |"]
    assert not [row for row in goal_rows([measured], on_gpu=True) if "not yet run" in row]


def test_a_missing_rival_has_a_row(measured):
    assert "| gone | - | - | - | - | missing: gone is not installed |" in markdown([measured], {}, on_gpu=False)


def test_quantiles_and_paired_ratios():
    assert quantiles([float(i) for i in range(11)]) == Times(0.0, 2.0, 5.0, 8.0)
    assert ratio([2.0, 30.0, 6.0], [1.0, 10.0, 2.0]) == 3.0


def test_every_page_of_ops_has_cases(repository):
    assert {path.stem for path in (repository / "csrc/cpu").glob("*.cpp")} == set(kernels.names())


def test_a_run_writes_page_and_table(monkeypatch, tmp_path):
    def broken():
        raise ValueError("no|thing")

    def cases(_):
        yield Case("an_op", "4", lambda: torch.ones(4).sum(), {"broken": broken}, 1600, (Goal("broken", 2),))

    monkeypatch.setattr(kernels, "cases", lambda op, device: cases(device))
    monkeypatch.setattr(
        kernels, "interleave", lambda samplers: {name: [s.sample(), s.sample()] for name, s in samplers.items()}
    )
    threads = torch.get_num_threads()
    try:
        args = argparse.Namespace(device="cpu", threads=[threads], out=tmp_path, peers=None, ops=["an_op"], machine="")
        kernels.run(args)
        args.machine = "other"
        kernels.run(args)
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "kernels_cpu_other.md").is_file()
    why = "fails here, ValueError: no/thing"
    assert f"missing: {why}" in (tmp_path / "kernels_cpu.md").read_text()
    rows = list(csv.DictReader((tmp_path / "kernels_cpu.csv").open()))
    assert [row["what"] for row in rows] == [OURS, COPY, "broken"]
    assert rows[2]["missing"] == why
    assert all(row["commit"] and row["machine"] and row["date"] for row in rows)


def test_every_machine_has_a_column_of_what_it_reached(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    head = "| op | size | threads | goal: at least | measured | verdict |"
    goals = f"## Goals\n\n{head}\n| --- | --- | --- | --- | --- | --- |\n"
    one, other = "| an_op | 4 | 2 | 6 x eager |", "| an_op | 8 | 2 | 6 x eager |"
    (tmp_path / "kernels_cpu.md").write_text(
        f"* machine: Intel(R) Xeon(R) Processor, 2 cores\n\n{goals}{one} 7.0 x | reached |\n{other} - | not yet run |\n"
    )
    (tmp_path / "kernels_cpu_b.md").write_text(
        f"* machine: AMD EPYC, 2 cores\n\n{goals}{one} 5.0 x | missed by 17 % |\n{other} 6.5 x | reached |\n"
    )
    assert list(readme.BLOCKS["kernels"]())[::2] == [
        "| op | size | threads | goal: at least | Intel Xeon | AMD EPYC |",
        "| an_op | 4 | 2 | 6 x eager | 7.0 x | 5.0 x, missed by 17 % |",
    ]
    assert list(readme.BLOCKS["kernels"]())[3] == "| an_op | 8 | 2 | 6 x eager |  | 6.5 x |"


def test_peers_come_from_a_folder_of_wheels_and_sources(monkeypatch, tmp_path):
    monkeypatch.setattr(peers.sys, "path", list(peers.sys.path))
    with zipfile.ZipFile(tmp_path / "a_wheel-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("peer_in_a_wheel/__init__.py", "answer = 1")
    (tmp_path / "tree" / "src").mkdir(parents=True)
    (tmp_path / "tree" / "src" / "peer_in_a_tree.py").write_text("answer = 2")
    peers.add_folder(tmp_path)

    def maker(name):
        return lambda: __import__(name).answer

    calls, missing = peers.gather({n: maker(n) for n in ("peer_in_a_wheel", "peer_in_a_tree", "peer_of_nobody")})
    assert calls == {"peer_in_a_wheel": 1, "peer_in_a_tree": 2}
    assert missing == {"peer_of_nobody": "peer_of_nobody is not installed"}


def test_a_folder_of_peers_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="expected a folder of wheels or sources"):
        peers.add_folder(tmp_path / "nothing")
