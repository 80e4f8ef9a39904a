"""What reaches a terminal: lines of characters that show themselves, on streams that may be gone."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys

import pytest
from fake_study import heart, write_nc

from spectac_fast import cli
from spectac_fast.errors import InputError
from spectac_fast.terminal import lasting_streams, visible

# An escape sequence, a line end, a carriage return, a bell, a direction override, a byte that is no UTF-8.
UGLY = "a\x1b[31mb\nc\rd\x07e\u202ef\udcffg\x9b.dcm"


def test_what_is_not_visible_is_written_out():
    assert visible(UGLY) == r"a\x1b[31mb\nc\rd\x07e\u202ef\udcffg\x9b.dcm"
    for text in ("Müller SA 5.dcm", "心筋.dcm", r"C:\new", visible(UGLY), ""):
        assert visible(text) == text
    assert visible("a\u00a0b\u200bc\u2028d") == r"a\xa0b\u200bc\u2028d"


@pytest.fixture
def study(tmp_path, rng):
    folder = tmp_path / UGLY.removesuffix(".dcm")
    write_nc(folder / UGLY, heart(rng, (12, 24, 24)))
    (folder / f"x{UGLY}").write_bytes(b"\0" * 128 + b"DICM" + b"no")
    row = {"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}
    (tmp_path / "row.json").write_text(json.dumps(row))
    return folder


def test_names_of_files_reach_no_terminal_as_they_are(study, tmp_path, capsys):
    model, out = ("-m", str(tmp_path / "row.json")), str(tmp_path / "out\x1b[2J")
    commands = (
        ["correct", "-i", str(study), *model, "-o", out, "--report", str(tmp_path / "r\x1b.json")],
        ["correct", "-i", str(study / UGLY), *model, "-o", str(study / UGLY)],
        ["info", str(study)],
        ["info", str(study / UGLY)],
        ["report", str(study), *model, "-o", str(tmp_path / "p\x1b.html")],
        ["reconstruct", "-i", str(study), "-o", out],
        ["correct", "-i", str(study) + "no", "-o", out],
        ["import", str(study / UGLY), "--layout", "palette", "-o", out + ".safetensors"],
        ["export", str(study / UGLY), "--layout", "palette", "-o", out + ".pth"],
        ["evaluate", "--data", str(study), "-o", out],
        ["train", "scale", "--data", str(study), "-o", out],
    )
    for words in commands:
        cli.main(words)
        said = capsys.readouterr()
        lines = (said.out + said.err).split("\n")
        assert lines.pop() == ""
        assert lines
        assert all(map(str.isprintable, lines)), (words[0], lines)


def test_arguments_are_repeated_visibly(capsys):
    for words in (
        ["correct", "-i", "x", "-o", "y", f"--{UGLY}"],
        [UGLY],
        ["correct", "-i", "x", "-o", "y", "--jobs", UGLY],
    ):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert all(map(str.isprintable, capsys.readouterr().err.splitlines()))


def test_sentences_of_errors_and_logs_are_visible(capsys, monkeypatch):
    assert str(InputError(f"{UGLY}: no")) == f"{visible(UGLY)}: no"
    from spectac_fast.terminal import log_to_stderr

    monkeypatch.setattr(logging.root, "handlers", [])
    log_to_stderr("spectac: %(message)s")
    logging.getLogger("x").warning("%s has gone", UGLY)
    assert capsys.readouterr().err == f"spectac: {visible(UGLY)} has gone\n"


@pytest.mark.parametrize("how", ["<&- >&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | true"])
def test_streams_that_take_nothing_change_nothing(study, tmp_path, how):
    out, report = tmp_path / "out", tmp_path / "run.json"
    correct = f"{sys.executable} -m spectac_fast.cli correct -i '{tmp_path}/in' -m '{tmp_path}/row.json' -o '{out}'"
    study.rename(tmp_path / "in")
    script = f"{{ {correct} --report '{report}'; echo $? >'{tmp_path}/status'; }} {how}"
    subprocess.run(["bash", "-c", script], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    # One of the two files is damaged.
    assert (tmp_path / "status").read_text() == "1\n"
    assert json.loads(report.read_text())["studies_corrected"] == 1
    (made,) = out.rglob("*_DL-AC.dcm")
    assert made.read_bytes()[128:132] == b"DICM"
    assert len(out.joinpath("spectac-manifest.jsonl").read_bytes().splitlines()) == 1


class Broken:
    """A stream of another kind: what it is asked fails, and it has no number."""

    def __init__(self, error):
        self.error = error

    def write(self, text):
        raise self.error

    flush = fileno = lambda self, *_: self.write("")


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_any_stream_lasts(monkeypatch, error):
    monkeypatch.setattr(sys, "stdout", Broken(error))
    monkeypatch.setattr(sys, "stderr", None)
    with lasting_streams():
        print("one")
        print("two", file=sys.stderr, flush=True)
        assert sys.stdout.write("three") == 5
    assert sys.stderr is None


def test_what_runs_where_may_be_asked_by_nobody():
    asked = subprocess.run(
        ["sh", "-c", 'exec 9>&1; { "$0" -m spectac_fast; echo $? >&9; } | true', sys.executable],
        capture_output=True,
        text=True,
    )
    assert (asked.stdout, asked.stderr) == ("0\n", "")
