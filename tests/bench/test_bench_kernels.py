"""The benchmark of the operators: what it finds, what it says of goals, and that nothing missing goes unsaid."""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import zipfile

import pytest
import torch

from bench import limited
from bench.pages import readme
from bench.speed import kernels, peers
from bench.speed.case import COPY, Case, Goal
from bench.speed.report import OURS, Measured, goal_rows, judge, markdown
from bench.speed.timing import Times, quantiles, ratio
from spectac_fast.errors import UsageError

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
        args = argparse.Namespace(
            device="cpu", threads=[threads], out=tmp_path, peers=None, ops=["an_op"], machine="", isa=None
        )
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


def test_a_limited_measurement_runs_in_a_process_that_is_limited(monkeypatch, tmp_path):
    """Of what the process starts with: the extension's folder first, then the arguments as they were."""
    ran = []
    monkeypatch.setattr(limited, "build", lambda: tmp_path / "built")
    monkeypatch.setattr(limited.subprocess, "run", lambda command, **how: ran.append((command, how)) or _Ended(3))
    monkeypatch.setattr(sys, "argv", ["bench", "kernels", "--isa", "avx2"])
    args = argparse.Namespace(device="cpu", isa="avx2")
    assert kernels.run(args) == 3
    ((command, how),) = ran
    assert command[1:] == ["-m", "bench.limited", str(tmp_path / "built"), "kernels", "--isa", "avx2"]
    assert how["env"]["ATEN_CPU_CAPABILITY"] == "avx2"
    assert "-AVX512F" in how["env"]["GLIBC_TUNABLES"]
    args.device = "cuda"
    with pytest.raises(UsageError, match="--isa avx2: expected --device cpu, found cuda"):
        kernels.run(args)


class _Ended:
    def __init__(self, returncode):
        self.returncode = returncode


def test_a_process_that_is_not_limited_says_so(monkeypatch):
    assert not limited.inside()
    assert limited.fact() == {}
    monkeypatch.setenv("SPECTAC_FAST_BENCH_ISA", "avx2")
    with pytest.raises(UsageError, match="expected torch at AVX2 and an extension of"):
        limited.inside()


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"), reason="it has no AVX2")
def test_the_variables_limit_torch_and_numpy():
    code = (
        "import torch; from numpy._core._multiarray_umath import __cpu_dispatch__ as all, __cpu_features__ as has;"
        "print(torch.backends.cpu.get_cpu_capability(), any(has[n] for n in all if '512' in n or n == 'X86_V4'))"
    )
    environment = {**os.environ, **limited.variables()}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["AVX2", "False"]


def test_a_limited_machine_has_a_column_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setattr(readme, "RESULTS", tmp_path)
    head = "| op | size | threads | goal: at least | measured | verdict |\n| --- | --- | --- | --- | --- | --- |\n"
    for name, more in (("", ""), ("_avx2", f"* {limited.FACT}: AVX2, both sides\n")):
        page = (
            f"* machine: AMD EPYC, 2 cores\n{more}\n## Goals\n\n{head}| an_op | 4 | 2 | 6 x eager | 7.0 x | reached |\n"
        )
        (tmp_path / f"kernels_cpu{name}.md").write_text(page)
    first, _, row = readme.BLOCKS["kernels"]()
    assert first == "| op | size | threads | goal: at least | AMD EPYC | AMD EPYC, AVX2 alone |"
    assert row == "| an_op | 4 | 2 | 6 x eager | 7.0 x | 7.0 x |"
