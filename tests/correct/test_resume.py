"""A run that is killed, at any moment, and started again ends with the same bytes as one that was not."""

import json
import os
import random
import resource
import signal
import threading
import time

import numpy as np
import pytest
import torch
from fake_study import Times, edit, heart, write_nc, write_study

from spectac_fast.correct import Corrector, Report, carry_out, correct_files
from spectac_fast.correct.manifest import Manifest
from spectac_fast.errors import SetupError

STUDIES = 8


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Studies of one or two series, and what comes out of an undisturbed run."""
    return undisturbed(tmp_path_factory.mktemp("night"), STUDIES)


def undisturbed(folder, studies):
    rng = np.random.default_rng(7)
    for k in range(studies):
        planes = ("SA", "VLA")[: 1 + k % 2]
        write_study(folder / "in" / f"case-{k}", rng, planes=planes, phases=("stress",), study_key=f"case-{k}")
    correct(folder / "in", folder / "whole")
    return folder / "in", contents(folder / "whole")


def correct(source, out, **options):
    return correct_files([source], out, Times(1.25), **options)


def contents(out):
    """Every file but the manifests."""
    files = (path for path in out.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def lines(out):
    return [json.loads(line) for line in (out / "spectac-manifest.jsonl").read_bytes().splitlines()]


def in_child(work):
    """Run `work` in a process of its own, which dies with SIGKILL or ends with status 0; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        torch.set_num_threads(1)
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def die_at(count, *names):
    """Kill this process at the count-th call of one of the functions of `os`, before it does anything."""
    left = [count]
    lock = threading.Lock()

    def fatal(real):
        def call(*args, **kwargs):
            with lock:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in names:
        setattr(os, name, fatal(getattr(os, name)))


def resumed(source, out, expected):
    """Finish what a killed run has left; nothing that was in its place is touched again."""
    before = {path: path.stat().st_ino for path in out.rglob("*_DL-AC.dcm")} if out.exists() else {}
    report = correct(source, out)
    assert contents(out) == expected
    assert {path: path.stat().st_ino for path in before} == before
    assert not report.failed
    keys = [json.dumps([line["settings"], line["sources"]]) for line in lines(out)]
    assert len(keys) == len(set(keys)) == len({name.split("/")[0] for name in expected})
    return report


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 4, 7, 11, 16, 22])
def test_killed_before_any_write_to_disk(night, tmp_path, moment):
    source, expected = night

    def work():
        die_at(moment, "fsync", "replace")
        correct(source, tmp_path / "out")

    _, status = os.waitpid(in_child(work), 0)
    assert os.WIFSIGNALED(status)
    report = resumed(source, tmp_path / "out", expected)
    assert report.studies < STUDIES or moment <= 3


def kill_at_random_moments(source, expected, folder, kills):
    """Kill runs until `kills` have died, each finished sooner or later; returns how many runs had to be finished."""
    started = time.monotonic()
    os.waitpid(in_child(lambda: correct(source, folder / "timed")), 0)
    span, dice = time.monotonic() - started, random.Random(3)
    killed = runs = 0
    while killed < kills:
        runs += 1
        out = folder / f"out-{runs}"
        while killed < kills:
            child = in_child(lambda out=out: correct(source, out))
            time.sleep(dice.uniform(0, span))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            killed += os.WIFSIGNALED(status)
            if not os.WIFSIGNALED(status) or dice.random() < 0.5:
                break
        resumed(source, out, expected)
    return runs


def test_killed_at_random_moments(night, tmp_path):
    kill_at_random_moments(*night, tmp_path, 6)


@pytest.mark.night
def test_killed_at_25_random_moments_of_40_studies(tmp_path, figures):
    source, expected = undisturbed(tmp_path, 40)
    runs = kill_at_random_moments(source, expected, tmp_path, 25)
    figures(f"25 kills of {runs} runs of 40 studies: the same bytes, nothing twice, no temporary file")


def test_a_finished_run_is_not_repeated(night, tmp_path):
    source, expected = night
    correct(source, tmp_path)
    model = Times(1.25)
    report = correct_files([source], tmp_path, model)
    assert (model.calls, report.written, report.studies) == ([], [], 0)
    assert len(report.finished) == len(expected)
    again = correct_files([source], tmp_path, model, overwrite=True)
    assert len(again.written) == len(expected)
    assert contents(tmp_path) == expected


def test_what_changed_is_corrected_again(tmp_path, rng):
    for case in ("a", "b", "c"):
        write_nc(tmp_path / "in" / case / "SA.dcm", heart(rng), study_key=case)
    out = tmp_path / "out"
    correct(tmp_path / "in", out)
    write_nc(tmp_path / "in" / "a" / "SA.dcm", heart(rng), study_key="a")
    (out / "b" / "SA_DL-AC.dcm").write_bytes((out / "b" / "SA_DL-AC.dcm").read_bytes()[:-1])
    report = correct(tmp_path / "in", out)
    assert {path.parent.name for path in report.written} == {"a", "b"}
    # Another setting is another result.
    assert correct(tmp_path / "in", out, seed=1).studies == 3


def test_torn_and_foreign_lines_are_passed_over(night, tmp_path):
    source, expected = night
    correct(source, tmp_path)
    path = tmp_path / "spectac-manifest.jsonl"
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([b"[]\n{}\n\xff\n", *whole[:-1], whole[-1][:40]]))
    report = correct(source, tmp_path)
    assert (report.studies, len(report.finished) + len(report.written)) == (1, len(expected))
    assert correct(source, tmp_path).studies == 0


def edited(line, way, text):
    """A line of a manifest with other JSON at one place."""
    home = line = json.loads(json.dumps(line))
    for key in way[:-1]:
        home = home[key]
    home[way[-1]] = "HERE"
    return json.dumps(line).replace('"HERE"', text).encode() + b"\n"


def places(value, way=()):
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*way, key)
        yield from places(each, (*way, key))


_ABSURD = (
    "null", "5", "-1", "1e400", "NaN", "true", "[]", "{}", '""', '"x"', '"/etc/hostname"', '"../../x"', '"a\\u0000b"',
    '["x"]', '{"x": 1}', "[[]]", '[{"file": 1, "sha256": 2}]', "9" * 5000, "[" * 100_000 + "]" * 100_000,
    '{"a":' * 100_000 + "1" + "}" * 100_000, '"' + "x" * 100_000 + '"',
)  # fmt: skip


def test_edited_lines_are_passed_over_and_said(tmp_path, rng, caplog):
    """Whatever stands wherever: the study is corrected again, or was finished; nothing else is touched or raised."""
    write_nc(tmp_path / "in" / "SA.dcm", heart(rng, (10, 16, 16)))
    (tmp_path / "x").write_bytes(b"mine")
    out = tmp_path / "a" / "out"
    correct(tmp_path / "in", out)
    path, expected = out / "spectac-manifest.jsonl", contents(out)
    whole = lines(out)[0]
    ends = {0: 0, 1: 0}
    for seed in range(40):
        dice = random.Random(seed)
        way, text = dice.choice(list(places(whole))), dice.choice(_ABSURD)
        path.write_bytes(edited(whole, way, text))
        try:
            report = correct(tmp_path / "in", out)
        except Exception as error:
            raise AssertionError(f"{seed}: {text[:40]} at {way}: {error!r}"[:500]) from None
        assert report.failed == []
        ends[report.studies] += 1
        assert contents(out) == expected
    assert min(ends.values()) > 0, ends
    assert "lines are not as a run writes them" in caplog.text
    assert (tmp_path / "x").read_bytes() == b"mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a", "in", "x"]


def test_a_manifest_of_one_endless_line_is_read_in_pieces(tmp_path, rng):
    write_nc(tmp_path / "in" / "SA.dcm", heart(rng, (10, 16, 16)))
    out = tmp_path / "out"
    out.mkdir()
    (out / "spectac-manifest.jsonl").write_bytes(b"[" * (40 * 2**20))
    assert correct(tmp_path / "in", out).studies == 1
    assert correct(tmp_path / "in", out).studies == 0


def test_shards_that_overlap_are_one_sentence(night, tmp_path):
    source, expected = night
    other = Manifest(tmp_path, (1, 3))
    other.lock()
    for shard in ((1, 1), (1, 2), (2, 2)):
        corrector = Corrector(Times(1.25))
        with pytest.raises(SetupError, match=r"shards of one division, .*spectac-manifest\.1of3\.jsonl"):
            carry_out(corrector, corrector.plan([source], tmp_path, shard=shard), Report())
    assert contents(tmp_path) == {}
    neighbour = Manifest(tmp_path, (2, 3))
    neighbour.lock()
    for each in (neighbour, other):
        each.close()
    correct(source, tmp_path)
    assert contents(tmp_path) == expected


def test_a_bad_series_is_told_again_and_its_study_not_repeated(tmp_path, rng):
    write_study(tmp_path / "in", rng, phases=("rest",))
    edit(tmp_path / "in" / "rest_VLA_NC.dcm", lambda ds: delattr(ds, "PixelSpacing"))
    write_nc(tmp_path / "in" / "AC.dcm", heart(rng), corrected=True)
    first, second = (correct(tmp_path / "in", tmp_path / "out") for _ in range(2))
    assert (first.studies, second.studies) == (1, 0)
    assert first.failed == second.failed
    assert first.skipped == second.skipped
    assert (len(first.failed), len(first.skipped), second.exit_code) == (1, 1, 1)


def test_two_runs_never_write_one_manifest(night, tmp_path):
    source, _ = night
    held = Manifest(tmp_path)
    held.lock()
    with pytest.raises(SetupError, match="another one"):
        correct(source, tmp_path)
    held.close()
    correct(source, tmp_path)


def test_shards_are_disjoint_complete_and_know_of_each_other(night, tmp_path):
    source, expected = night
    written = []
    for index in (1, 2, 3):
        corrector, report = Corrector(Times(1.25)), Report()
        carry_out(corrector, corrector.plan([source], tmp_path, shard=(index, 3)), report)
        written += report.written
    assert len(written) == len(set(written)) == len(expected)
    assert contents(tmp_path) == expected
    assert correct(source, tmp_path).studies == 0


def test_stopping_finishes_the_batch_and_leaves_the_rest(night, tmp_path):
    source, expected = night
    stop = threading.Event()

    class Stops(Times):
        def translate(self, nc, *args, **options):
            if len(self.calls) == 4:
                stop.set()
            return super().translate(nc, *args, **options)

    model = Stops(1.25)
    corrector, report = Corrector(model, batch_size=16), Report()
    carry_out(corrector, corrector.plan([source], tmp_path), report, stop=stop)
    assert report.interrupted
    assert report.exit_code == 130
    # Four batches of 16: the trial is none, for the size is given.
    assert len(model.calls) == 5
    assert 0 < len(report.written) < len(expected)
    assert contents(tmp_path).items() <= expected.items()
    resumed(source, tmp_path, expected)


def test_full_disk_is_one_sentence_and_leaves_no_part(night, tmp_path, monkeypatch):
    source, expected = night
    real, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SetupError, match="No space left"):
        correct(source, tmp_path)
    assert contents(tmp_path).items() <= expected.items()
    monkeypatch.undo()
    resumed(source, tmp_path, expected)


def test_a_write_that_is_cut_short_says_why(night, tmp_path):
    """As `full disk`, with an error of the system's own: no file may be longer than half an output."""
    source, expected = night
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(map(len, expected.values())) // 2, limits[1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write corrected files here \(File too large\)"):
            correct(source, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert contents(tmp_path) == {}
    resumed(source, tmp_path, expected)
