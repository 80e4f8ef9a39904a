"""Killed between any two steps on the disk, or without room on it at any of them, a node loses nothing."""

from __future__ import annotations

import os
import shutil
import sys

import numpy as np
import pydicom
import pytest
from fake_node import CutNodes
from fake_study import heart, write_nc
from patience import until

pytest.importorskip("pynetdicom", reason="needs pynetdicom (extra: node)")

from pynetdicom import AE

from spectac_fast.formats.dicom import NM_IMAGE_STORAGE
from spectac_fast.node import Spool

pytestmark = pytest.mark.night

UNDER_WAY = ("incoming", "correcting", "outgoing")


@pytest.fixture
def nodes(tmp_path, archive, monkeypatch):
    # Of the process that the nodes are forked off.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    return CutNodes(tmp_path, archive.port)


@pytest.fixture
def sources(tmp_path):
    """Two studies, of two series and of one, and an object that no node corrects."""
    rng, shape = np.random.default_rng(4), (12, 24, 24)
    for study, phase in (("a", "stress"), ("a", "rest"), ("b", "stress")):
        write_nc(tmp_path / "in" / f"{study}_{phase}.dcm", heart(rng, shape), phase=phase, study_key=study)
    write_nc(tmp_path / "in" / "c_ac.dcm", heart(rng, shape), corrected=True, study_key="c")
    return sorted((tmp_path / "in").iterdir())


class Sender:
    """A camera's queue: what was not taken is sent again, in an association for each object."""

    def __init__(self, paths):
        self.left = [pydicom.dcmread(path) for path in paths]

    def send(self, port, process):
        """Until all was taken, or there is no node any more."""
        ae = AE(ae_title="CAMERA")
        ae.add_requested_context(NM_IMAGE_STORAGE, pydicom.uid.ExplicitVRLittleEndian)
        while self.left and process.is_alive():
            association = ae.associate("127.0.0.1", port, ae_title="SPECTAC")
            if not association.is_established:
                continue
            try:
                if association.send_c_store(self.left[0]).get("Status") == 0:
                    del self.left[0]
            except (ValueError, RuntimeError):
                # The association has gone meanwhile.
                continue
            finally:
                association.release()


def files(folder, *stages):
    return [name for stage in stages for _, _, names in os.walk(folder / "spool" / stage) for name in names]


def is_done(folder, archive):
    return len(archive.objects) == 3 and not files(folder, *UNDER_WAY) and "reason.txt" in files(folder, "dead")


def check(folder, archive, sources):
    """Every study has arrived, corrected and whole, and what is none is kept with its reason."""
    arrived = {ds.SourceImageSequence[0].ReferencedSOPInstanceUID: ds for ds in archive.objects.values()}
    expected = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, sources[:3])}
    assert set(arrived) == set(expected)
    for uid, ds in arrived.items():
        np.testing.assert_array_equal(ds.pixel_array, 2 * expected[uid].pixel_array)
    dead = sorted(files(folder, "dead"))
    assert len(dead) == 2 * dead.count("reason.txt")
    assert set((folder / "spool").rglob("*.dcm")) == set((folder / "spool" / "dead").rglob("*.dcm"))
    assert not [name for name in files(folder, ".") if name.startswith(".") and name != ".lock"]


def night(folder, nodes, archive, sources, act, *runs):
    """How many nodes were killed. Each of `runs` is the steps at which one node is struck; a last one is not."""
    shutil.rmtree(folder / "spool", ignore_errors=True)
    if act == "full":
        # Of a spool without folders a full disk makes none.
        Spool(folder / "spool").close()
    archive.objects.clear()
    sender, struck = Sender(sources), 0
    for at in (*runs, ()):
        process, port = nodes.start(act, at)
        if port is not None:
            sender.send(port, process)
            until(lambda process=process: not process.is_alive() or is_done(folder, archive))
        status = nodes.end(process)
        assert status == 0 or (act == "kill" and at and status == -9), (status, at)
        struck += status != 0
        if is_done(folder, archive) and not sender.left:
            break
    check(folder, archive, sources)
    return struck


def test_killed_at_every_step(tmp_path, nodes, archive, sources, figures):
    assert night(tmp_path, nodes, archive, sources, "kill") == 0
    dice, kills = np.random.default_rng(7), []
    # The order of threads may take or add a step: until there is none to be killed at.
    while not kills or kills[-1]:
        again = int(dice.integers(1, 20 + len(kills)))
        kills.append(night(tmp_path, nodes, archive, sources, "kill", {len(kills) + 1}, {again}))
    assert len(kills) > 60
    figures(
        f"3 studies through a node killed (SIGKILL) at each of its {len(kills) - 1} steps on the disk, and the next at "
        f"a drawn one, {sum(kills)} kills in all: each arrived whole, what is no study was kept with its reason, "
        "nothing was left over"
    )


def test_no_room_at_any_step(tmp_path, nodes, archive, sources, figures):
    night(tmp_path, nodes, archive, sources, "full")
    last = len(nodes.steps())
    for number in range(1, last + 1):
        night(tmp_path, nodes, archive, sources, "full", set(range(number, number + 3)))
    figures(
        f"no room at three steps in a row, from each of the {last} that may need it on: nothing lost, the node lives"
    )
