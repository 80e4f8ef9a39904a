"""The command line as a person uses it: a process, its two streams and its exit status."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_study import edit, heart, write_nc, write_study
from patience import HANGS_S

from spectac_fast import cli
from spectac_fast._version import __version__
from spectac_fast.formats.dicom import read_series


@pytest.fixture
def model(tmp_path):
    """A file that describes the identity with gain 1."""
    path = tmp_path / "same.json"
    path.write_text(json.dumps({"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}))
    return path


def spectac(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=HANGS_S)


@pytest.fixture
def inside(capsys):
    """The same in this process, for the cases that need no process of their own: importing torch takes a second."""

    def run(*words):
        status = cli.main([str(word) for word in words])
        return subprocess.CompletedProcess(words, status, *capsys.readouterr())

    return run


def only_sentence(result, status):
    """A failed run says one sentence on stderr and nothing else."""
    assert result.returncode == status, result.stderr
    assert result.stdout == ""
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("spectac: ")
    return lines[0]


@pytest.mark.parametrize("words", [["--help"], ["--version"], *([name, "--help"] for name in cli.COMMANDS)])
def test_help_imports_nothing_heavy(words):
    code = (
        "import sys; from spectac_fast import cli\n"
        f"try: cli.main({words!r})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'pydicom', 'matplotlib', 'skimage', 'scipy', 'nvtx', 'triton'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "not a medical device" in result.stdout


def test_version():
    assert __version__ in spectac("--version").stdout


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["corect"],
        ["correct", "-o", "out"],
        ["correct", "-i", "in"],
        ["correct", "-i", "in", "-o", "out", "--steps", "0"],
        ["correct", "-i", "in", "-o", "out", "--samples", "two"],
        ["correct", "-i", "in", "-o", "out", "-d", "tpu"],
        ["correct", "-i", "in", "-o", "out", "--shard", "0/2"],
        ["correct", "-i", "in", "-o", "out", "--shard", "3/2"],
        ["correct", "-i", "in", "-o", "out", "--shard", "2"],
        ["correct", "-i", "in", "-o", "out", "--batch-size", "many"],
        ["correct", "-i", "in", "-o", "out", "--jobs", "0"],
        ["correct", "-i", "in", "-o", "out", "--progress", "loud"],
    ],
)
def test_usage_errors(words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 2
    assert "usage: spectac" in capsys.readouterr().err


def test_correct_a_study(tmp_path, rng, model):
    written = write_study(tmp_path / "in" / "case", rng)
    write_nc(tmp_path / "in" / "case" / "ac.dcm", heart(rng), corrected=True)
    result = spectac("correct", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model, "-d", "cpu")
    assert result.returncode == 0, result.stderr
    assert "174 slices in 6 series of 1 study" in result.stdout
    assert "ms per slice" in result.stdout
    assert "skipped: " in result.stderr
    assert "SECRET" not in result.stdout + result.stderr
    for name, counts in written.items():
        after = read_series(tmp_path / "out" / "case" / name.replace(".dcm", "_DL-AC.dcm"))
        np.testing.assert_array_equal(after.counts, counts)
    assert len(list((tmp_path / "out").rglob("*"))) == 8

    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")}
    again = spectac("correct", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model, "-d", "cpu")
    assert again.returncode == 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")} == before


def test_one_bad_file_is_listed_and_the_rest_is_done(tmp_path, rng, model, inside):
    write_study(tmp_path / "in", rng, phases=("rest",))
    write_nc(tmp_path / "in" / "bad.dcm", heart(rng), phase="stress")
    edit(tmp_path / "in" / "bad.dcm", lambda ds: delattr(ds, "PixelSpacing"))
    result = inside("correct", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert result.returncode == 1
    assert "1 failed" in result.stdout
    assert "failed: " in result.stderr
    assert "bad.dcm" in result.stderr
    assert len(list((tmp_path / "out").glob("*.dcm"))) == 3


def test_bad_file_alone_writes_nothing(tmp_path, model):
    (tmp_path / "letter.dcm").write_text("Dear colleague")
    result = spectac("correct", "-i", tmp_path / "letter.dcm", "-o", tmp_path / "out", "-m", model)
    assert result.returncode == 1
    assert "letter.dcm: expected a DICOM file" in result.stderr
    assert not (tmp_path / "out").exists()


def test_no_input(tmp_path, model, inside):
    (tmp_path / "in").mkdir()
    for words in (["-i", tmp_path / "in"], ["-i", tmp_path / "absent"]):
        text = only_sentence(inside("correct", *words, "-o", tmp_path / "out", "-m", model), 3)
        assert "found none" in text
    assert not (tmp_path / "out").exists()


def test_a_folder_without_nc_slices_lists_what_is_there(tmp_path, rng, model, inside):
    write_nc(tmp_path / "in" / "AC.dcm", heart(rng), corrected=True)
    result = inside("correct", "-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert (result.returncode, result.stdout) == (3, "")
    skipped, sentence = result.stderr.splitlines()
    assert skipped.startswith("skipped: ")
    assert "already attenuation-corrected" in skipped
    assert "found 1 DICOM files of other kinds" in sentence
    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written(tmp_path, rng, model, inside):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    out = tmp_path / "letter.txt"
    out.write_text("in the way")
    text = only_sentence(inside("correct", "-i", tmp_path / "SA.dcm", "-o", out, "-m", model), 4)
    assert "letter.txt" in text
    text = only_sentence(inside("correct", "-i", tmp_path / "SA.dcm", "-o", "/proc/out", "-m", model), 4)
    assert "/proc/out" in text


def test_unknown_model_suggests_the_nearest(tmp_path, rng, inside):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    result = inside("correct", "-i", tmp_path / "SA.dcm", "-o", tmp_path / "out", "-m", "bdbm")
    assert "did you mean bbdm" in only_sentence(result, 4)


def test_weight_files_that_do_not_fit(tmp_path, rng, inside):
    import torch
    from safetensors.torch import save_file

    write_nc(tmp_path / "SA.dcm", heart(rng))
    save_file({"layer.weight": torch.zeros(3)}, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:20])
    (tmp_path / "other.json").write_text("{}")
    for name in ("other.safetensors", "cut.safetensors", "other.json", "absent.safetensors"):
        result = inside("correct", "-i", tmp_path / "SA.dcm", "-o", tmp_path / "out", "-m", tmp_path / name)
        assert name in only_sentence(result, 1)
    assert not (tmp_path / "out").exists()


def test_absent_device(tmp_path, rng, model, inside):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    result = inside("correct", "-i", tmp_path / "SA.dcm", "-o", tmp_path / "out", "-m", model, "-d", "cuda:77")
    assert "cuda:77" in only_sentence(result, 4)


def test_interrupt_ends_with_130_and_leaves_no_temporary_files(tmp_path, rng, model):
    for k in range(40):
        write_study(tmp_path / "in" / f"case-{k}", rng, planes=("SA",), study_key=f"case-{k}")
    command = [sys.executable, "-m", "spectac_fast.cli", "correct", "-m", model, "-i", tmp_path / "in", "-o"]
    # On a busy machine the batch may be over before the signal arrives: then there was no interruption to judge.
    for _ in range(4):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        process = subprocess.Popen([*map(str, command), str(tmp_path / "out")], stderr=subprocess.PIPE, text=True)
        while not list((tmp_path / "out").rglob("*_DL-AC.dcm")) and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANGS_S)
        if process.returncode != 0:
            break
    assert process.returncode == 130
    assert errors.strip().splitlines()[-1] == "spectac: interrupted"
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.suffix != ".jsonl"]
    assert 0 < len(files) < 80
    assert all(path.name.endswith("_DL-AC.dcm") for path in files)
    for path in files:
        read_series(path)


def test_shards_follow_the_launcher_and_the_report_tells_all(tmp_path, rng, model, inside, monkeypatch):
    for case in ("a", "b", "c"):
        write_study(tmp_path / "in" / case, rng, planes=("SA",), phases=("rest",), study_key=case)
    told = []
    for rank in (0, 1):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", "2")
        words = ["-i", tmp_path / "in", "-o", tmp_path / "out", "-m", model, "--report", tmp_path / "run.json"]
        assert inside("correct", *words, "--progress", "off").returncode == 0
        told.append(json.loads((tmp_path / "run.json").read_text()))
    assert [report["studies_corrected"] for report in told] == [2, 1]
    monkeypatch.delenv("RANK")
    again = inside("correct", *words)
    assert again.returncode == 0
    assert "3 series finished before" in again.stdout
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
    # A part without any study is no error: another part has them.
    assert inside("correct", *words, "--shard", "7/9").returncode == 0


def test_a_run_that_cannot_go_on_reports_why(tmp_path, rng, model, inside):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    words = ["-i", tmp_path / "SA.dcm", "-o", tmp_path / "SA.dcm" / "out", "-m", model, "--report", tmp_path / "r.json"]
    assert inside("correct", *words).returncode == 4
    told = json.loads((tmp_path / "r.json").read_text())
    assert (told["exit_code"], "not a folder" in told["error"]) == (4, True)
    words = ["-i", tmp_path / "SA.dcm", "-o", tmp_path / "out", "-m", model, "--batch-size", "48"]
    assert "batch size" in only_sentence(inside("correct", *words), 2)


def test_forced_files_are_corrected_and_found_ones_still_skipped(tmp_path, rng, model, inside):
    write_nc(tmp_path / "in" / "NC.dcm", heart(rng))
    write_nc(tmp_path / "in" / "AC.dcm", heart(rng), corrected=True)
    words = ["-o", tmp_path / "out", "-m", model, "--force"]
    assert inside("correct", "-i", tmp_path / "in", *words).returncode == 0
    assert [path.name for path in (tmp_path / "out").glob("*.dcm")] == ["NC_DL-AC.dcm"]
    assert inside("correct", "-i", tmp_path / "in" / "AC.dcm", *words[2:], "-o", tmp_path / "forced").returncode == 0
    assert [path.name for path in (tmp_path / "forced").glob("*.dcm")] == ["AC_DL-AC.dcm"]


def test_info_about_surroundings_and_a_model(model):
    result = spectac("info")
    assert result.returncode == 0, result.stderr
    for word in (__version__, "torch", "sampler_step", "model bbdm", "not a medical device"):
        assert word in result.stdout
    assert "pixels of 6.8 mm" in spectac("info", model).stdout


def test_info_about_files_shows_geometry_and_no_identity(tmp_path, rng, inside):
    write_nc(tmp_path / "SA.dcm", heart(rng), slice_mm=-6.4)
    (tmp_path / "bad.dcm").write_bytes(b"\0" * 128 + b"DICM")
    result = inside("info", tmp_path)
    assert result.returncode == 0, result.stderr
    assert "NC stress SA, 29 slices of 64 x 64, pixels 6.8 x 6.8 mm, slices 6.4 mm apart" in result.stdout
    assert "bad.dcm: " in result.stdout
    assert "SECRET" not in result.stdout
    assert "bad.dcm" in only_sentence(inside("info", tmp_path / "bad.dcm"), 1)


@pytest.mark.parametrize("order", ["IN -o OUT", "-i IN -o OUT", "-o OUT IN", "-o OUT -i IN", "--out OUT --in IN"])
@pytest.mark.parametrize(
    "words",
    [
        ["correct"],
        ["reconstruct"],
        ["report"],
        ["explain"],
        ["evaluate"],
        ["import", "--layout", "palette"],
        ["export", "--layout", "palette"],
    ],
    ids=lambda words: words[0],
)
def test_one_grammar(words, order):
    args = cli.build_parser(words[0]).parse_args([*words, *order.split()])
    assert ([str(path) for path in args.inputs], str(args.out)) == (["IN"], "OUT")


def test_inputs_stand_before_between_and_after_the_flags():
    for line in ("a -o OUT b", "a b -o OUT", "-i a b -o OUT", "-i a -o OUT -i b", "-o OUT a b", "-i a -o OUT b"):
        args = cli.build_parser("correct").parse_args(["correct", *line.split()])
        assert sorted(map(str, args.inputs)) == ["a", "b"], line
    assert list(map(str, cli.build_parser("info").parse_args(["info", "-i", "a", "b"]).inputs)) == ["a", "b"]
    args = cli.build_parser("train").parse_args(["train", "linear", "-i", "a", "b", "-o", "OUT"])
    assert (args.model, list(map(str, args.inputs))) == ("linear", ["a", "b"])
