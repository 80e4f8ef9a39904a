"""The acceptance page says what the tests said: nothing that failed or did not run passes."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.__main__ import main
from bench.evidence import acceptance

TESTS = """
import pytest

def test_a_good_one(record_property):
    record_property("figures", "7 of 7 | all")

def test_a_bad_one():
    assert 1 == 2, "one is not two"

def test_one_that_cannot():
    pytest.skip("needs a tool that is nowhere")
"""


@pytest.fixture
def report(tmp_path):
    (tmp_path / "test_three.py").write_text(TESTS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--junitxml={tmp_path / 'r.xml'}",
        tmp_path,
    ]
    subprocess.run(command, capture_output=True, cwd=tmp_path)
    return (tmp_path / "r.xml").read_text()


def test_outcomes_and_figures(report):
    good, bad, absent = acceptance.cases_of(report)
    assert (good.outcome, good.figures, good.name) == ("passed", ("7 of 7 | all",), "a good one")
    assert (bad.outcome, absent.outcome) == ("failed", "not run")
    assert "one is not two" in bad.reason
    assert absent.reason == "needs a tool that is nowhere"
    facts = {"machine": "m", "commit": "c"}
    results = {"crash": acceptance.Result(facts, (good, bad, absent)), "soak": acceptance.Result(facts, ())}
    *rows, empty, crash, _ = acceptance.page(results).splitlines()[-7:]
    assert (empty, crash) == ("", "* crash: m, c")
    assert rows[0] == f"| crash | a good one | passed | {good.seconds:.0f} | 7 of 7 / all |"
    assert ["failed" in rows[k] for k in range(4)] == [False, True, False, True]


def test_variants_that_say_nothing_share_a_row():
    def case(name, outcome="passed", figures=()):
        return acceptance.Case(name, outcome, "", 2.0, figures)

    found = acceptance.joined(
        [case("a[1]"), case("b"), case("a[2]"), case("a[3]", "failed"), case("a[4]", figures=("7",)), case("c[1]")]
    )
    assert [each.name for each in found] == ["a, 2 variants", "b", "a[3]", "a[4]", "c[1]"]
    assert [each.seconds for each in found] == [4.0, 2.0, 2.0, 2.0, 2.0]
    assert found[2].outcome == "failed"


def test_what_did_not_pass_is_the_exit_status(report, tmp_path, monkeypatch, capsys):
    good, bad, absent = acceptance.cases_of(report)
    for cases, status in (([good], 0), ([good, bad], 1), ([good, absent], 1), ([], 1)):
        monkeypatch.setattr(acceptance, "run_part", lambda part, cases=cases: cases)
        monkeypatch.setattr("sys.argv", ["bench", "acceptance", "crash", "-o", str(tmp_path / "a.md")])
        assert main() == status
        # What other parts have said stays.
        monkeypatch.setattr("sys.argv", ["bench", "acceptance", "soak", "-o", str(tmp_path / "a.md")])
        assert main() == status
        assert list(acceptance.load(tmp_path / "a.json")) == ["crash", "soak"]
    monkeypatch.setattr("sys.argv", ["bench", "acceptance", "crush"])
    assert main() == 2
    assert "one is not two" in capsys.readouterr().err


def test_every_long_test_belongs_to_a_part(repository):
    tests = repository / "tests"
    files = (path for path in tests.rglob("test_*.py") if path != Path(__file__) and "mark.night" in path.read_text())
    long = {path.relative_to(tests).as_posix() for path in files}
    assert long == {file for file, _ in acceptance.PARTS.values()}
