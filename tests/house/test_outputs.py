"""What an option names as output: new files, or those of this program, whichever command writes them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import stat

import numpy as np
import pytest
import torch
from fake_study import Times, heart, write_nc
from tiny_bbdm import CONFIG, random_tensors
from tiny_palette import palette_state

from spectac_fast.checkpoints.weights import save_weights
from spectac_fast.cli import main
from spectac_fast.correct import correct_files
from spectac_fast.errors import SetupError, UsageError
from spectac_fast.outputs import Kind, Permit, check_folder

FOREIGN = b"what took somebody a year"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Things to read: a study, a row, a bridge, a published checkpoint and a folder of pairs."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(3)
    write_nc(folder / "study" / "SA.dcm", heart(rng, (9, 24, 24)))
    row = {"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}
    (folder / "row.json").write_text(json.dumps(row))
    save_weights(folder / "bridge.safetensors", random_tensors(), "bbdm", CONFIG, {})
    torch.save(palette_state(), folder / "palette.pth")
    for kind in ("NC", "AC"):
        (folder / "pairs" / kind).mkdir(parents=True)
        np.save(folder / "pairs" / kind / "a_stress_SA.npy", heart(rng, (9, 24, 24)))
    (folder / "pairs" / "spacing.json").write_text('{"pixel_mm": 6.8, "slice_mm": 6.8}')
    return folder


@pytest.fixture
def at(made, tmp_path):
    """A fresh copy of it."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def correct(at, out):
    return "correct", "-i", at / "study", "-m", at / "row.json", "-o", out


# What is written -> (its path from the folder of outputs, the command that writes it there).
WRITERS = {
    "a corrected file": ("SA_DL-AC.dcm", lambda at, out, path: correct(at, out)),
    "a report of a run": ("run.json", lambda at, out, path: (*correct(at, out / "x"), "--report", path)),
    "a page": (
        "page.html",
        lambda at, out, path: ("report", at / "study", "-m", at / "row.json", "--png", "--dicom", "-o", path),
    ),
    "an explanation": (
        "explain.json",
        lambda at, out, path: ("explain", at / "study", "-m", at / "bridge.safetensors", "-o", out),
    ),
    "a checkpoint": (
        "again.pth",
        lambda at, out, path: ("export", at / "palette.safetensors", "--layout", "palette", "-o", path),
    ),
    "weights": (
        "new.safetensors",
        lambda at, out, path: ("import", at / "palette.pth", "--layout", "palette", "-o", path),
    ),
    "a table": (
        "table.csv",
        lambda at, out, path: ("evaluate", "--data", at / "pairs", "--models", "identity", "-o", out),
    ),
}


KINDS = {
    "SA_DL-AC.dcm": Kind.OBJECT, "run.json": Kind.JSON, "page.html": Kind.PAGE, "explain.json": Kind.JSON,
    "again.pth": Kind.CHECKPOINT, "new.safetensors": Kind.WEIGHTS, "table.csv": Kind.TABLE,
}  # fmt: skip
BESIDE = {
    "page.html": {"page.png": Kind.PICTURE, "page.dcm": Kind.OBJECT},
    "explain.json": {"explain-stress.png": Kind.PICTURE},
    "table.csv": {"table.md": Kind.TABLE, "table.json": Kind.JSON, "panel.png": Kind.PICTURE},
}


def run(words):
    return main([str(word) for word in words])


@pytest.fixture
def writer(at, tmp_path, request):
    """(path, argv, {path: kind} of all that is written) of one writer."""
    name, command = WRITERS[request.param]
    out = tmp_path / "out"
    out.mkdir()
    if request.param == "a checkpoint":
        run(("import", at / "palette.pth", "--layout", "palette", "-o", at / "palette.safetensors"))
    kinds = {out / each: kind for each, kind in BESIDE.get(name, {}).items()} | {out / name: KINDS[name]}
    return out / name, command(at, out, out / name), kinds


def no_device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("needs the right to make a device")


NEVER = {
    "a folder": lambda path, at: path.mkdir(),
    "a link to a file": lambda path, at: path.symlink_to(at / "study" / "SA.dcm"),
    "a link to nothing": lambda path, at: path.symlink_to(at / "none"),
    "a pipe": lambda path, at: os.mkfifo(path),
    "a device": lambda path, at: no_device(path),
}


def state(path):
    """What is at a path, without following it."""
    found = os.lstat(path)
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) else os.readlink(path) if path.is_symlink() else None
    return stat.S_IFMT(found.st_mode), found.st_ino, content


@pytest.mark.parametrize("writer", WRITERS, indirect=True)
def test_a_file_of_others_is_replaced_only_where_one_says_so(writer, capsys):
    _, words, kinds = writer
    for taken in kinds:
        taken.write_bytes(FOREIGN)
        assert run(words) in (1, 2)
        said = capsys.readouterr()
        assert f"{taken}: expected a new file" in said.err + said.out
        assert "found one of another origin; --overwrite replaces it." in said.err + said.out
        assert [each for each in kinds if each.exists()] == [taken]
        assert taken.read_bytes() == FOREIGN
        taken.unlink()
    for taken in kinds:
        taken.write_bytes(FOREIGN)
    assert run((*words, "--overwrite")) == 0
    # The next run knows them.
    assert [Permit().obstacle(each, kind) for each, kind in kinds.items()] == [""] * len(kinds)


@pytest.mark.parametrize("thing", NEVER)
@pytest.mark.parametrize("writer", ["a corrected file", "a report of a run", "a page"], indirect=True)
def test_what_is_never_replaced(writer, thing, at, capsys):
    path, words, _ = writer
    NEVER[thing](path, at)
    before = state(path)
    for more in ((), ("--overwrite",)):
        assert run((*words, *more)) in (1, 2)
        assert "which is never replaced." in capsys.readouterr().err
        assert state(path) == before
    assert (at / "study" / "SA.dcm").read_bytes()[128:132] == b"DICM"


@pytest.mark.parametrize("named", ["study/SA.dcm", "study", "study/*.dcm", "study.zip"])
def test_an_input_is_never_replaced(at, tmp_path, named, capsys):
    shutil.make_archive(at / "study", "zip", at / "study")
    target = at / ("study.zip" if named.endswith("zip") else "study/SA.dcm")
    whole = target.read_bytes()
    words = ("correct", "-i", at / named, "-m", at / "row.json", "-o", tmp_path / "out", "--report", target)
    for more in ((), ("--overwrite",)):
        assert run((*words, *more)) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert target.read_bytes() == whole
    # Nor is the model, nor by the links of a path.
    (tmp_path / "way").symlink_to(at)
    for path in (at / "row.json", tmp_path / "way" / target.relative_to(at)):
        assert run((*words[:-1], path, "--overwrite")) == 2
    assert not (tmp_path / "out").exists()
    assert json.loads((at / "row.json").read_text())["model"] == "same"


def test_a_corrected_file_within_the_input_is_not_taken_for_its_own(at, capsys):
    """A copy of a source under the name of its corrected form is an input of the next run, whatever is said."""
    taken = at / "study" / "SA_DL-AC.dcm"
    shutil.copy(at / "study" / "SA.dcm", taken)
    whole = taken.read_bytes()
    for more in ((), ("--overwrite",)):
        assert run((*correct(at, at / "study"), *more)) == 1
        assert "among the inputs, which is never replaced." in capsys.readouterr().err
        assert taken.read_bytes() == whole


@pytest.mark.parametrize("name", ["spectac-manifest.jsonl", "spectac-manifest.1of2.jsonl"])
def test_a_manifest_is_never_replaced(at, tmp_path, name, capsys):
    out = tmp_path / "out"
    assert run(correct(at, out)) == 0
    before = (out / "spectac-manifest.jsonl").read_bytes()
    assert run((*correct(at, out), "--report", out / name, "--overwrite")) == 2
    assert "manifest, which is never replaced" in capsys.readouterr().err
    assert (out / "spectac-manifest.jsonl").read_bytes() == before


def test_a_manifest_is_no_log(at, tmp_path, capsys):
    log = tmp_path / "out" / "spectac-manifest.jsonl"
    log.parent.mkdir()
    assert run((*correct(at, tmp_path / "out"), "--log-file", log)) == 4
    assert "expected a log of this program" in capsys.readouterr().err
    assert not log.exists()


def test_no_name_in_a_folder_of_others_leads_elsewhere(at, tmp_path):
    """Links by the names that a process of this number could have for its temporary files."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("SA_DL-AC.dcm", "run.json"):
        (out / f".{name}.tmp-{os.getpid()}").symlink_to(at / "row.json")
    before = (at / "row.json").read_bytes()
    assert run((*correct(at, out), "--report", out / "run.json")) == 0
    assert (at / "row.json").read_bytes() == before
    assert not (out / "run.json").is_symlink()


@pytest.mark.parametrize("thing", [*NEVER, "a socket"])
def test_a_manifest_that_is_no_file_is_one_sentence(at, tmp_path, thing, capsys):
    path = tmp_path / "out" / "spectac-manifest.jsonl"
    path.parent.mkdir()
    if thing == "a socket":
        # A socket's name has 108 bytes, and folders of tests may be deep.
        with socket.socket(socket.AF_UNIX) as end, contextlib.chdir(path.parent):
            end.bind(path.name)
    else:
        NEVER[thing](path, at)
    whole = (at / "study" / "SA.dcm").read_bytes()
    assert run(correct(at, tmp_path / "out")) == 4
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"spectac: {path}: ") or "cannot read the manifest" in line
    assert (at / "study" / "SA.dcm").read_bytes() == whole


def test_a_report_never_takes_the_place_of_what_its_run_has_written(at, tmp_path, capsys):
    target = tmp_path / "out" / "SA_DL-AC.dcm"
    assert run((*correct(at, tmp_path / "out"), "--report", target)) == 4
    assert "found one of another origin" in capsys.readouterr().err
    assert target.read_bytes()[128:132] == b"DICM"


def test_what_the_manifest_knows_is_its_own_in_any_form(tmp_path, rng):
    """An npy file has no place for a mark."""
    np.save(tmp_path / "a_stress_SA.npy", heart(rng, (9, 24, 24)))
    words = ["correct", "-i", tmp_path / "a_stress_SA.npy", "-o", tmp_path / "out", "--pixel-mm", 6.8]
    words += ["--slice-mm", 6.8, "--kind", "nc", "-m"]
    target = tmp_path / "out" / "a_stress_SA_DL-AC.npy"
    assert run((*words, "identity")) == 0
    first = target.read_bytes()
    assert run((*words, "scale")) == 0
    assert target.read_bytes() != first
    np.save(target, np.zeros(3))
    edited = target.read_bytes()
    assert run((*words, "identity")) == 1
    assert target.read_bytes() == edited


@pytest.mark.parametrize("name", ["stress.png", "rest.png", "patient/patient.png", "patient/map.png", "report.html"])
def test_the_demo_draws_over_nothing(tmp_path, name, capsys):
    taken = tmp_path / name
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(FOREIGN)
    assert run(("demo", "-o", tmp_path)) == 2
    assert f"{taken}: expected a new file" in capsys.readouterr().err
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [taken]


def test_the_demo_leaves_what_is_there(tmp_path, capsys):
    (tmp_path / "input").mkdir()
    taken = tmp_path / "input" / "rest_SA_NC.dcm"
    taken.write_bytes(FOREIGN)
    assert run(("demo", "-o", tmp_path)) == 4
    assert "choose another folder" in capsys.readouterr().err
    assert taken.read_bytes() == FOREIGN


@pytest.mark.parametrize("name", ["case-7", "cohort.npy", ".unfinished.json", "index.json", "cohort.json"])
def test_a_cohort_never_takes_the_place_of_other_things(tmp_path, name, capsys):
    (tmp_path / name).mkdir() if name == "case-7" else (tmp_path / name).write_bytes(FOREIGN)
    form = "npy" if name in ("cohort.npy", "index.json") else "dicom"
    assert run(("phantom", "--cases", 1, "--seed", 7, "-o", tmp_path, "--format", form)) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("spectac:")]
    assert len(said) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["scale.json", "card.json", "log.jsonl", "pix2pix64.safetensors"])
def test_a_training_never_takes_the_place_of_other_things(at, tmp_path, name, capsys):
    out = tmp_path / "run"
    out.mkdir()
    (out / name).write_bytes(FOREIGN)
    model = "scale" if name == "scale.json" else "pix2pix"
    assert run(("train", model, "--data", at / "pairs", "-o", out, "--steps", 1)) == 2
    assert str(out / name) in capsys.readouterr().err
    assert (out / name).read_bytes() == FOREIGN


@pytest.mark.parametrize("name", ["x\0y", "x" * 5000, "SA.dcm/x"])
@pytest.mark.parametrize("writer", ["a corrected file", "a report of a run", "a page"], indirect=True)
def test_impossible_names_are_one_sentence(writer, name, at, capsys):
    path, words, _ = writer
    before = sorted(path.parent.rglob("*"))
    put = {path.parent: at / "study" / name / "y", path: at / "study" / name, path.parent / "x": path.parent / "x"}
    put[path.parent / "page.html"] = at / "study" / f"{name}.html"
    words = tuple(put.get(word, word) for word in words)
    assert run(words) in (1, 2, 4)
    said = capsys.readouterr()
    (line,) = (said.err + said.out).splitlines()
    assert len(line) < 12000
    assert sorted(path.parent.rglob("*")) == before


def test_own_files_are_told_by_their_content(tmp_path):
    """Whatever else is in a file, its beginning or its fields must say it, and damage is nobody's."""
    path = tmp_path / "x"
    for kind in Kind:
        for content in (b"\0", b"spectac_fast", b"[" * 100_000, b"{}", b"\x1f\x8b" + b"x" * 40, b"\xff" * 8 + b"x"):
            path.write_bytes(content)
            assert Permit().obstacle(path, kind), (kind, content[:20])
    path.write_text('{"notice": 5, "card": [], "head": "metric_profile"}')
    assert Permit().obstacle(path, Kind.JSON)


def test_the_python_interface_asks_too(at, tmp_path):
    out = tmp_path / "out"
    correct_files([at / "study"], out, Times())
    (out / "SA_DL-AC.dcm").write_bytes(FOREIGN)
    for how in ({}, {"again": True}):
        report = correct_files([at / "study"], out, Times(), **how)
        assert (report.written, len(report.failed)) == ([], 1)
    report = correct_files([at / "study"], out, Times(), overwrite=True)
    assert (len(report.written), report.failed) == (1, [])
    with pytest.raises(SetupError, match="a name that no file can have"):
        check_folder(tmp_path / "x\0y")
    with pytest.raises(UsageError, match="a folder, which is never replaced"):
        Permit((), True).check(tmp_path, Kind.PAGE)
