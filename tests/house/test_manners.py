"""What every command does beside its work: it says at once what is wrong, how far it is, and to whom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from fake_study import heart, write_nc, write_study
from patience import HANGS_S

from spectac_fast import cli
from spectac_fast.commands._flags import settings
from spectac_fast.commands._messages import style_of
from spectac_fast.errors import UsageError
from spectac_fast.train.recipe import load_recipe


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "same.json"
    path.write_text(json.dumps({"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}))
    return path


WRONG = [
    ("correct nowhere -o out", 3, "nowhere: expected a file or folder here, found none."),
    ("correct -i nowhere elsewhere -o out", 3, "nowhere, elsewhere: expected"),
    ("reconstruct nowhere -o out", 3, "nowhere: expected"),
    ("report nowhere -o out.html", 3, "nowhere: expected"),
    ("explain nowhere -o out", 3, "nowhere: expected"),
    ("evaluate nowhere -o out", 3, "nowhere: expected a cohort folder"),
    ("train bbdm --data nowhere -o out", 3, "nowhere: expected"),
    ("train bbdm --data . -o out --initial nowhere", 2, "--initial nowhere: expected"),
    ("evaluate . -o out --normals nowhere", 2, "--normals nowhere: expected"),
    ("report . -o out.html --geometry nowhere", 2, "--geometry nowhere: expected"),
    ("import nowhere --layout palette -o out.safetensors", 2, "the checkpoint nowhere does not exist"),
    ("export nowhere --layout palette -o out.pth", 2, "the weight file nowhere does not exist"),
    ("correct . -o taken", 4, "taken: expected a folder to write results to, found a file."),
    ("phantom --cases 1 --seed 1 -o taken", 4, "taken: expected a folder"),
    ("demo -o taken", 4, "taken: expected a folder"),
    ("correct . -o out -m bdbm", 4, "did you mean bbdm"),
    ("correct . -o out -m gone.safetensors", 1, "gone.safetensors does not exist"),
    ("info bdbm", 4, "did you mean bbdm"),
    ("info gone/SA.dcm", 3, "gone/SA.dcm: expected a file, a folder or the name of a model here, found none."),
    ("correct . -o out --steps 0", 2, "argument --steps: expected a whole number"),
    ("correct . -o out -d tpu", 2, "expected auto, cpu, cuda or cuda:N"),
    ("correct -o out", 2, "the following arguments are required: IN"),
    ("evaluate a b -o out", 2, "DIR: expected 1, found 2"),
    ("models", 0, ""),
    ("completion bash", 0, ""),
]


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), "memory"),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), "memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (OSError(12, "Cannot allocate memory"), "memory"),
        (SystemError("<built-in method run_backward> returned NULL without setting an exception"), "memory"),
        (RuntimeError("can't start new thread"), "threads"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "threads"),
    ],
)
def test_what_the_system_does_not_give_is_a_sentence(monkeypatch, capsys, error, short):
    def run(args):
        raise error

    monkeypatch.setattr("spectac_fast.commands.studies.models.run", run)
    assert cli.main(["models"]) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"spectac: expected enough {short} for this, found that the system gives no more."
    # What is no want of anything is not hidden.
    error = RuntimeError("of another kind")
    with pytest.raises(RuntimeError, match="of another kind"):
        cli.main(["models"])


def test_wrong_names_are_said_before_torch_is_imported(tmp_path):
    (tmp_path / "taken").touch()
    # All in one process: none may import what is heavy.
    code = (
        "import contextlib, io, json, sys; from spectac_fast import cli\n"
        "told = []\n"
        f"for words in {[words.split() for words, *_ in WRONG]!r}:\n"
        "    out, errors = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):\n"
        "        try: status = cli.main(words)\n"
        "        except SystemExit as end: status = end.code\n"
        "    heavy = {'torch', 'numpy', 'pydicom', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "    told.append([status, errors.getvalue(), sorted(heavy)])\n"
        "print(json.dumps(told))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    for (words, status, said), (ended, errors, heavy) in zip(WRONG, json.loads(done.stdout), strict=True):
        assert heavy == [], words
        assert ended == status, (words, errors)
        assert said in errors, words
        assert errors.count("\n") <= 1 or "usage: " in errors, words
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_the_phantom_says_at_once_what_it_does(tmp_path):
    command = [sys.executable, "-m", "spectac_fast.cli", "phantom", "--cases", "2", "--seed", "650000", "-o"]
    process = subprocess.Popen([*command, str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
    try:
        # Before any case: none is made in less than seconds.
        assert process.stderr.readline() == "phantom: 0/2 cases\n"
        assert not list((tmp_path / "out").glob("case-*"))
    finally:
        process.terminate()
        process.communicate(timeout=HANGS_S)


def test_searching_and_reporting_show_how_far_they_are(tmp_path, rng, model, monkeypatch, capsys):
    shown = []
    monkeypatch.setattr("spectac_fast.progress.Progress._show", lambda self, now: shown.append((self.label, self.done)))
    monkeypatch.setattr("spectac_fast.progress._PLAIN_LINE_S", 0.0)
    write_study(tmp_path / "in", rng, phases=("rest",))
    assert cli.main(["correct", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(model)]) == 0
    assert [done for label, done in shown if label == "searching"] == [1, 2, 3]
    shown.clear()
    words = [str(tmp_path / "in"), str(tmp_path / "out"), "-o", str(tmp_path / "r.html"), "-m", str(model)]
    assert cli.main(["report", *words]) == 0
    assert [done for label, done in shown if label == "searching"] == [1, 2, 3, 4, 5, 6]
    assert ("reporting", 0) in shown


def test_quiet_says_only_what_went_wrong(tmp_path, rng, model, capsys):
    write_study(tmp_path / "in", rng, phases=("rest",))
    (tmp_path / "in" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM")
    words = ["correct", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.main([*words, "-q"]) == 1
    out, errors = capsys.readouterr()
    assert out == ""
    assert [line.partition(":")[0] for line in errors.splitlines()] == ["failed"]
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 3
    assert style_of(cli.build_parser("correct").parse_args([*words, "-q", "--progress", "json"])) == "off"
    with pytest.raises(SystemExit):
        cli.main([*words, "-q", "-v"])


def test_the_log_file_has_all_that_is_said(tmp_path, rng, model):
    write_study(tmp_path / "in", rng, phases=("rest",), planes=("SA",))
    log = tmp_path / "night.log"
    words = ["correct", tmp_path / "in", "-o", tmp_path / "out", "-m", model, "--log-file", log]
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
    said = {}
    for flags in (["-q"], ["-v", "--overwrite"]):
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=HANGS_S)
        assert done.returncode == 0, done.stderr
        said[flags[0]] = done
    assert said["-q"].stdout == ""
    (warning,) = said["-q"].stderr.splitlines()
    assert warning.startswith("spectac: the model same multiplies counts and corrects no attenuation")
    assert "spectac: correct begins: spectac_fast" in said["-v"].stderr
    assert "spectac: correct ends after" in said["-v"].stderr
    lines = log.read_text().splitlines()
    assert all(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S") for line in lines)
    for text in ("INFO correct begins", "INFO correct ends", "corrected 29 slices in 1 series of 1 study"):
        assert sum(text in line for line in lines) == 2, text
    assert "SECRET" not in log.read_text()
    assert cli.main(["models", "--log-file", str(tmp_path / "no" / "night.log")]) == 4
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear colleague")
    assert cli.main(["models", "--log-file", str(letter)]) == 4
    assert letter.read_text() == "Dear colleague"


def test_a_dry_run_says_what_would_become_of_every_series(tmp_path, rng, model, capsys):
    write_study(tmp_path / "in", rng, phases=("rest",))
    write_nc(tmp_path / "in" / "ac.dcm", heart(rng), corrected=True, phase="stress")
    (tmp_path / "in" / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM")
    words = ["correct", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(model)]
    assert cli.main([*words, "--dry-run"]) == 1
    out, errors = capsys.readouterr()
    assert not (tmp_path / "out").exists()
    assert out.count("would be corrected, into ") == 3
    assert out.count("would be left alone, as it is corrected already") == 1
    assert "nothing was written" in out
    assert "bad.dcm" in out + errors
    foretold = {line.partition(", into ")[2] for line in out.splitlines() if ", into " in line}
    assert cli.main(words) == 1
    capsys.readouterr()
    assert {str(path) for path in (tmp_path / "out").glob("*.dcm")} == foretold
    assert cli.main([*words, "--dry-run"]) == 1
    assert capsys.readouterr().out.count("finished before, would be kept") == 3
    forced = ["correct", str(tmp_path / "in" / "ac.dcm"), "-o", str(tmp_path / "forced"), "-m", str(model), "--force"]
    assert cli.main([*forced, "--dry-run"]) == 0
    assert "would be corrected, into " in capsys.readouterr().out


def test_bar_and_summary_agree_where_files_fail(tmp_path, rng, model, monkeypatch, capsys):
    ended = []
    leave = "spectac_fast.progress.Progress.__exit__"
    monkeypatch.setattr(leave, lambda self, *_: ended.append((self.label, self.done, self.total)))
    write_study(tmp_path / "in", rng, phases=("rest",))
    write_nc(tmp_path / "in" / "ac.dcm", heart(rng), corrected=True)
    write_nc(tmp_path / "in" / "bad.dcm", heart(rng), phase="stress")
    whole = (tmp_path / "in" / "bad.dcm").read_bytes()
    (tmp_path / "in" / "bad.dcm").write_bytes(whole[: len(whole) // 2])
    assert cli.main(["correct", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(model)]) == 1
    assert "corrected 87 slices in 3 series" in capsys.readouterr().out
    assert ("correcting", 87, 87) in ended


def test_models_are_listed_in_a_line_each(capsys):
    assert cli.main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    from spectac_fast.models.names import APART, NAMED

    known = {**NAMED, **APART}
    named = [line.split()[0] for line in lines if line and line.split()[0] in known]
    assert sorted(named) == sorted(known)
    assert named[0] == "bbdm"
    assert named[-len(APART) :] == list(APART)
    assert len(lines) <= len(known) + 10


def test_settings_change_a_recipe(tmp_path, capsys):
    plain = load_recipe("bbdm", "native64")
    changed = load_recipe("bbdm", "native64", {"data.batch": 4, "network.context_slices": 1, "precision": "fp32"})
    assert (changed.data["batch"], changed.network["context_slices"], changed.precision) == (4, 1, "fp32")
    assert {**plain.data, "batch": 4} == changed.data
    (tmp_path / "data").mkdir()
    for setting, said in {
        "data.bach=4": "--set data.bach: expected one of accumulate, batch",
        "dta.batch=4": "--set dta.batch: expected dta to be a part of the recipe, found none",
        "data.batch=many": '--set data.batch: expected a number, such as 32, found "many"',
        "data.batch": "--set data.batch: expected NAME=VALUE",
        "model=ldm": "--set model: expected how a model is trained",
    }.items():
        args = cli.build_parser("train").parse_args(["train", "bbdm", "-i", "x", "-o", "y", "--set", setting])
        with pytest.raises(UsageError) as refused:
            load_recipe("bbdm", "native64", settings(args))
        assert said in str(refused.value)
    words = ["train", "linear", "-i", str(tmp_path / "data"), "-o", str(tmp_path / "run"), "--set", "a=1"]
    assert cli.main(words) == 2
    assert "linear, which has none" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_completes_commands_options_choices_and_files(tmp_path, capsys):
    script = tmp_path / "spectac.bash"
    made = subprocess.run(
        [sys.executable, "-m", "spectac_fast.cli", "completion", "bash"], capture_output=True, text=True
    )
    script.write_text(made.stdout)
    for line, expected in {
        "spectac corr": ["correct"],
        "spectac correct --unc": ["--uncertainty"],
        "spectac correct --precision ": ["auto", "fp32", "bf16", "fp16"],
        "spectac correct --kind n": ["nc"],
        "spectac train pix": ["pix2pix"],
        "spectac report stu": [],
    }.items():
        words = line.split(" ")
        ask = f"source {script}; COMP_WORDS=({' '.join(repr(w) for w in words)}); COMP_CWORD={len(words) - 1}; _spectac"
        done = subprocess.run(["bash", "-c", f'{ask}; echo "${{COMPREPLY[@]}}"'], capture_output=True, text=True)
        assert done.stderr == ""
        assert done.stdout.split() == expected, line


def test_every_shell_knows_every_option(capsys):
    for shell in ("bash", "zsh", "fish"):
        assert cli.main(["completion", shell]) == 0
        said = capsys.readouterr().out
        for name in cli.COMMANDS:
            commands = next(a for a in cli.build_parser(name)._actions if a.dest == "command")
            assert name in said
            for action in commands.choices[name]._actions:
                for flag in action.option_strings:
                    assert (flag if shell != "fish" else flag.lstrip("-")) in said, (shell, name, flag)


def test_an_absent_device_is_named_with_what_there_is(tmp_path, rng, model, capsys):
    import torch

    write_nc(tmp_path / "SA.dcm", heart(rng))
    words = ["correct", str(tmp_path / "SA.dcm"), "-o", str(tmp_path / "out"), "-m", str(model), "-d", "cuda:77"]
    assert cli.main(words) == 4
    said = capsys.readouterr().err
    assert "device cuda:77: expected " in said
    assert "-d cpu" in said
    if torch.version.cuda is None:
        assert f"found torch {torch.__version__}" in said


def test_a_word_stands_on_a_terminal_while_torch_is_loaded(tmp_path, rng, model):
    pty = pytest.importorskip("pty")
    write_nc(tmp_path / "SA.dcm", heart(rng))
    ours, theirs = pty.openpty()
    words = ["correct", tmp_path / "SA.dcm", "-o", tmp_path / "out", "-m", model]
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        pass  # how a pseudo-terminal says that the other end is closed
    process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    assert said.startswith(b"starting ...")
    assert b"\rstarting" not in said
    for part in (b"searching: 1 files", b"[........................] correcting: 0/29 slices", b"29/29 slices in"):
        assert part in said, said
