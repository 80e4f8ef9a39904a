"""One job that cannot be done never ends the node: it waits or goes to dead/, and the rest goes on."""

from __future__ import annotations

import errno
import logging
import os
import time

import pytest
from cuts import Steps
from fake_archive import destination_of
from fake_study import Times, heart, write_nc
from patience import until

from spectac_fast import read_study, write_corrected
from spectac_fast.errors import SetupError
from spectac_fast.node import Node, Receiver, Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


@pytest.fixture
def run(spool):
    """Start a node on the spool; it ends with the test."""
    started = []

    def run(destination=None, **options):
        options = {"stable_s": 0.1, "first_wait_s": 0.02} | options
        node = Node(Receiver(spool, "SPECTAC", port=0), Times(2.0), destination=destination, **options)
        started.append(node)
        node.start()
        return node

    yield run
    for node in started:
        node.stop()


def corrected_job(spool, rng, name):
    """A job in outgoing/ with one sound object."""
    source = spool.root.parent / f"{name}.dcm"
    write_nc(source, heart(rng), study_key=name)
    study = read_study(source)
    job = spool.root / "outgoing" / name
    job.mkdir()
    write_corrected(study, [study.series[0].counts], job)
    return job


@pytest.mark.parametrize("share", [0.0, 0.1, 0.9])
def test_a_cut_object_goes_to_dead_and_the_others_of_its_job_are_sent(rng, spool, archive, run, share):
    job = corrected_job(spool, rng, "poisoned")
    (whole,) = job.rglob("*.dcm")
    content = whole.read_bytes()
    (whole.parent / "cut.dcm").write_bytes(content[: int(share * len(content))])
    corrected_job(spool, rng, "sound")
    node = run(destination_of(archive))
    until(lambda: len(archive.objects) == 2 and not list((spool.root / "outgoing").iterdir()))
    (dead,) = (spool.root / "dead").iterdir()
    assert sorted(path.name for path in dead.rglob("*") if path.is_file()) == ["cut.dcm", "reason.txt"]
    assert (dead / "reason.txt").read_text().startswith("cut.dcm: ")
    assert node.error is None


def test_a_job_put_back_with_its_reason_is_sent_and_gone(rng, spool, archive, run):
    (corrected_job(spool, rng, "again") / "reason.txt").write_text("PACS refused it.\n")
    run(destination_of(archive))
    until(lambda: archive.objects and not list((spool.root / "outgoing").iterdir()))
    assert not list((spool.root / "dead").iterdir())


def test_what_nobody_sends_is_set_aside(rng, spool, archive, run):
    (corrected_job(spool, rng, "noted") / "notes.txt").write_text("call back\n")
    run(destination_of(archive))
    until(lambda: archive.objects and list((spool.root / "dead").rglob("reason.txt")))
    assert (spool.root / "dead/noted/notes.txt").exists()


@pytest.mark.parametrize("status", [0x0000, 0x0001, 0x0107, 0x0111, 0x0116, 0xB000, 0xB006])
def test_what_the_archive_has_is_not_sent_again(rng, spool, archive, run, status):
    archive.status = status
    corrected_job(spool, rng, "job")
    run(destination_of(archive))
    until(lambda: archive.sent and not list((spool.root / "outgoing").iterdir()))
    assert archive.sent == 1
    assert not list((spool.root / "dead").iterdir())


@pytest.mark.parametrize("step", ["draft", "finish", "take_stable", "bury"])
def test_a_full_disk_is_waited_for(rng, spool, run, monkeypatch, caplog, step):
    full, real = iter([True, True]), getattr(Spool, step)

    def when_there_is_room(self, *args, **options):
        if next(full, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, *args, **options)

    monkeypatch.setattr(Spool, step, when_there_is_room)
    write_nc(spool.root.parent / "SA.dcm", heart(rng))
    spool.receive("1.2", "1.2.3", (spool.root.parent / "SA.dcm").read_bytes())
    spool.receive("1.3", "1.3.3", b"")
    node = run()
    until(lambda: len(list((spool.root / "corrected").rglob("*.dcm"))) == 1)
    until(lambda: len(list((spool.root / "dead").rglob("reason.txt"))) == 1)
    assert "No space left on device" in caplog.text
    assert node.error is None


def test_what_nobody_foresaw_sets_one_job_aside(rng, spool, run, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("spectac_fast.node.service.correct_files", lambda *_, **__: {}["DOE^JANE"])
    spool.receive("1.2", "1.2.3", b"anything")
    node = run()
    until(lambda: list((spool.root / "dead").rglob("reason.txt")))
    assert "KeyError" in caplog.text
    assert "DOE" not in caplog.text
    assert node.error is None


@pytest.fixture
def steps(spool, monkeypatch):
    """What is done on the disk from here on, in its order."""
    steps = Steps(spool.root, lambda number: False, None)
    steps.install(monkeypatch.setattr)
    return steps


def lasts(names):
    """The steps without those that are on the disk for good, by an fsync of a file or of the folder of a name."""
    left = []
    for name in names:
        kind, _, place = name.partition(" ")
        if kind == "fsync":
            left = [each for each in left if place not in (each[1], os.path.dirname(each[1]))]
        elif kind in ("mkdir", "replace", "write"):
            left.append((kind, place))
    return left


def test_what_a_sender_hears_was_taken_outlasts_a_power_cut(spool, steps):
    spool.receive("1.2", "1.2.3", b"one")
    assert [name.partition(" ")[0] for name in steps.names][:4] == ["open", "write", "fsync", "mkdir"]
    assert lasts(steps.names) == []


def test_a_source_goes_when_what_was_made_of_it_outlasts_a_power_cut(rng, spool, steps):
    write_nc(spool.root.parent / "SA.dcm", heart(rng))
    spool.receive("1.2", "1.2.3", (spool.root.parent / "SA.dcm").read_bytes())
    node = Node(Receiver(spool, "SPECTAC", port=0), Times(2.0))
    node._correct(spool.take_stable(0))
    (gone,) = [k for k, name in enumerate(steps.names) if name.endswith(".gone") and "replace" in name]
    assert [each for each in lasts(steps.names[:gone]) if "manifest" not in each[1]] == []


def test_a_study_of_which_nothing_was_kept_is_none(spool):
    empty = spool.root / "incoming" / "a"
    empty.mkdir()
    assert spool.take_stable(0) is None
    spool.close()
    Spool(spool.root).close()
    assert not empty.exists()


def test_what_is_set_aside_says_why_from_the_first_moment(spool, steps):
    spool.receive("1.2", "1.2.3", b"one")
    spool.bury(spool.take_stable(0), "it would not do")
    assert [name.partition(" ")[0] for name in steps.names][-3:] == ["open", "write", "replace"]
    assert [path.read_text() for path in (spool.root / "dead").rglob("reason.txt")] == ["it would not do\n"]


def test_a_spool_is_one_nodes(spool):
    with pytest.raises(SetupError, match="in use"):
        Spool(spool.root)
    spool.close()
    Spool(spool.root).close()


def test_a_clock_that_is_set_does_not_matter(rng, spool):
    spool.receive("1.2", "1.2.3", b"one")
    (folder,) = [each for each in (spool.root / "incoming").iterdir() if each.is_dir()]
    for off in (-86400, 86400):
        os.utime(folder, (time.time() + off, time.time() + off))
        assert spool.take_stable(3600) is None
    assert spool.take_stable(0) is not None
    spool.receive("1.3", "1.3.3", b"one")
    assert spool.take_stable(0.2) is None
    time.sleep(0.25)
    # The same object again, with the same content: it is still coming in.
    spool.receive("1.3", "1.3.3", b"one")
    assert spool.take_stable(0.2) is None
    time.sleep(0.25)
    assert spool.take_stable(0.2) is not None
