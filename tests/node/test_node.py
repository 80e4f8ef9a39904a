"""The DICOM node: what is sent to it arrives corrected, once, whatever happens in between."""

import logging
import os
import shutil
import socket
import subprocess

import numpy as np
import pydicom
import pytest
from dcmtk import dcmtk
from fake_archive import destination_of
from fake_patient import AXES, write_patient
from fake_study import Times, heart, write_nc, write_study
from patience import HANGS_S, until

pytest.importorskip("pynetdicom", reason="needs pynetdicom (extra: node)")

from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

import spectac_fast as sf
from spectac_fast import cli, read_study, write_corrected
from spectac_fast.errors import SetupError, UsageError
from spectac_fast.formats.dicom import NM_IMAGE_STORAGE
from spectac_fast.formats.series import NOTHING, Told
from spectac_fast.node import Destination, Limits, Node, Receiver, Spool


@pytest.fixture
def nodes(tmp_path):
    """Start nodes on one spool; all end with the test."""
    started = []

    def start(destination=None, translator=None, spool="spool", projections=None, told=NOTHING, **receiver):
        receiver, waits = Receiver(Spool(tmp_path / spool), "SPECTAC", port=0, **receiver), (0.3, 0.05)
        options = {"projections": projections, "destination": destination, "told": told}
        node = Node(receiver, translator or Times(2.0), **options, stable_s=waits[0], first_wait_s=waits[1])
        started.append(node)
        node.start()
        return node

    yield start
    for node in started:
        node.stop()


def send(node, paths, calling="CAMERA", called="SPECTAC"):
    """The status of each object sent in one association; None where it is refused."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(NM_IMAGE_STORAGE, pydicom.uid.ExplicitVRLittleEndian)
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title=called)
    if not association.is_established:
        return None
    statuses = [association.send_c_store(pydicom.dcmread(path)).get("Status") for path in paths]
    association.release()
    return statuses


def files(tmp_path, stage):
    # Folders come and go meanwhile, which os.walk passes over.
    return sorted(name for _, _, names in os.walk(tmp_path / "spool" / stage) for name in names)


def test_a_study_arrives_corrected_and_sending_it_again_adds_nothing(tmp_path, rng, archive, nodes):
    counts = write_study(tmp_path / "in", rng)
    sources = sorted((tmp_path / "in").iterdir())
    node = nodes(destination_of(archive))
    assert send(node, sources) == [0] * 6
    until(lambda: len(archive.objects) == 6)
    by_source = {ds.SourceImageSequence[0].ReferencedSOPInstanceUID: ds for ds in archive.objects.values()}
    for path in sources:
        source = pydicom.dcmread(path)
        np.testing.assert_array_equal(by_source[source.SOPInstanceUID].pixel_array, 2 * counts[path.name])
        assert by_source[source.SOPInstanceUID].StudyInstanceUID == source.StudyInstanceUID
    assert send(node, sources) == [0] * 6
    until(lambda: archive.sent == 12)
    assert len(archive.objects) == 6
    until(lambda: not any(files(tmp_path, stage) for stage in ("incoming", "correcting", "outgoing", "dead")))


def test_a_node_asks_its_model_for_the_ac_that_is_wanted(tmp_path, rng, nodes, capsys):
    class Several(Times):
        facts = ("keeps_scatter", "sharper")

        def translate(self, nc, seeds=None, neighbours=None, facts=None, **options):
            heard.append(facts)
            return super().translate(nc, seeds, neighbours, **options)

    heard = []
    write_study(tmp_path / "in", rng, planes=("SA",), phases=("stress",))
    node = nodes(translator=Several(2.0), told=Told(sharper=True))
    assert send(node, sorted((tmp_path / "in").iterdir())) == [0]
    until(lambda: len(files(tmp_path, "corrected")) == 1)
    # What warms a network up is told nothing.
    assert {tuple(facts[0].tolist()) for facts in heard if facts is not None} == {(0.0, 1.0)}
    (name,) = files(tmp_path, "corrected")
    (path,) = (tmp_path / "spool" / "corrected").rglob(name)
    assert "resolution recovered" in pydicom.dcmread(path).DerivationDescription
    # Refused before anything is listened for.
    command = ["serve", "--spool", str(tmp_path / "other"), "--port", "0", "-m", "pix2pix", "--sharper"]
    assert cli.main(command) == 2
    assert "sharper: expected a model that learnt from AC of both resolutions" in capsys.readouterr().err


def test_projections_are_reconstructed_where_the_node_is_told_to(tmp_path, rng, archive, nodes):
    write_patient(tmp_path / "tomo.dcm", rng)
    write_nc(tmp_path / "nc.dcm", heart(rng), study_key="another")
    axis = (45.0, 25.0, *map(float, AXES.centre))
    node = nodes(destination_of(archive), projections=sf.Reconstructor(ac="chang", planes=("SA",), axis=axis))
    assert send(node, [tmp_path / "tomo.dcm", tmp_path / "nc.dcm"]) == [0, 0]
    until(lambda: len(archive.objects) == 3)
    until(lambda: not any(files(tmp_path, stage) for stage in ("incoming", "correcting", "outgoing")))
    assert not files(tmp_path, "dead")
    tomo, found = pydicom.dcmread(tmp_path / "tomo.dcm"), list(archive.objects.values())
    made = [ds for ds in found if ds.StudyInstanceUID == tomo.StudyInstanceUID]
    assert {ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in made} == {tomo.SOPInstanceUID}
    assert len(made) == 2
    assert len({"ATTN" in ds.CorrectedImage for ds in made}) == 2


def test_projections_are_left_where_the_node_is_not_told_to(tmp_path, rng, nodes):
    write_patient(tmp_path / "tomo.dcm", rng)
    node = nodes()
    assert send(node, [tmp_path / "tomo.dcm"]) == [0]
    until(lambda: "reason.txt" in files(tmp_path, "dead"))
    assert not files(tmp_path, "corrected")


def test_a_receiver_that_is_away_gets_it_later(tmp_path, rng, archive, nodes, caplog):
    write_study(tmp_path / "in", rng, planes=("SA",))
    archive.stop()
    node = nodes(destination_of(archive))
    send(node, sorted((tmp_path / "in").iterdir()))
    until(lambda: "again in" in caplog.text)
    archive.status = 0xA700
    archive.start()
    until(lambda: archive.sent)
    assert len(files(tmp_path, "outgoing")) == 2
    archive.status = 0x0000
    until(lambda: len(archive.objects) == 2)
    until(lambda: not files(tmp_path, "outgoing"))
    assert "SECRET" not in caplog.text


def test_what_will_never_be_taken_is_set_aside(tmp_path, rng, archive, nodes):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    archive.status = 0xC001
    send(nodes(destination_of(archive)), [tmp_path / "SA.dcm"])
    until(lambda: "reason.txt" in files(tmp_path, "dead"))
    assert len(files(tmp_path, "dead")) == 2
    assert "C001" in next((tmp_path / "spool/dead").rglob("reason.txt")).read_text()
    assert archive.sent == 1


def test_what_cannot_be_corrected_is_set_aside_and_the_rest_goes_on(tmp_path, rng, archive, nodes):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    write_nc(tmp_path / "bad.dcm", heart(rng) * 0 + 1, plane="VLA", pixel_mm=60.0)
    write_nc(tmp_path / "ac.dcm", heart(rng), corrected=True, study_key="other")
    assert send(nodes(destination_of(archive)), [tmp_path / f"{name}.dcm" for name in ("SA", "bad", "ac")]) == [0] * 3
    until(lambda: len(archive.objects) == 1 and files(tmp_path, "dead").count("reason.txt") == 2)
    reasons = "".join(path.read_text() for path in (tmp_path / "spool/dead").rglob("reason.txt"))
    assert "60 x 60 mm" in reasons
    assert "expected NC slices" in reasons


def test_without_a_destination_results_stay(tmp_path, rng, nodes):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    send(nodes(), [tmp_path / "SA.dcm"])
    until(lambda: len(files(tmp_path, "corrected")) == 1)


@pytest.mark.parametrize("stage", ["incoming", "correcting", "corrected"])
def test_a_killed_node_goes_on_where_it_was(tmp_path, rng, archive, nodes, stage):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    spool = Spool(tmp_path / "spool")
    spool.receive("1.2", "1.2.3", (tmp_path / "SA.dcm").read_bytes())
    (tmp_path / "spool/incoming/.half.tmp").write_bytes(b"half")
    if stage != "incoming":
        job = spool.take_stable(0)
        draft = spool.draft(job)
        (draft / "half.dcm").write_bytes(b"half")
        if stage == "corrected":
            # Killed between handing the result on and removing the source.
            shutil.move(draft, tmp_path / "spool/outgoing" / job.name)
            (tmp_path / "spool/outgoing" / job.name / "half.dcm").unlink()
            series = read_study(tmp_path / "SA.dcm")
            write_corrected(series, [series.series[0].counts], tmp_path / "spool/outgoing" / job.name)
    spool.close()
    nodes(destination_of(archive))
    until(lambda: archive.objects)
    assert all(ds.ImageType[0] == "DERIVED" for ds in archive.objects.values())
    until(lambda: not any(files(tmp_path, each) for each in ("incoming", "correcting", "outgoing", "dead")))


def test_strangers_and_wrong_titles_are_rejected(tmp_path, rng, nodes):
    write_nc(tmp_path / "SA.dcm", heart(rng))
    node = nodes(allowed=["CAMERA"])
    assert send(node, [tmp_path / "SA.dcm"], calling="STRANGER") is None
    assert send(node, [tmp_path / "SA.dcm"], called="ANY") is None
    assert send(node, [tmp_path / "SA.dcm"]) == [0]
    ae = AE(ae_title="CAMERA")
    ae.add_requested_context(CTImageStorage)
    assert not ae.associate("127.0.0.1", node.receiver.port, ae_title="SPECTAC").is_established
    ae.requested_contexts = []
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", node.receiver.port, ae_title="SPECTAC")
    assert association.send_c_echo().Status == 0
    association.release()


def test_large_objects_and_full_disks_are_refused(tmp_path, rng, nodes, caplog):
    write_nc(tmp_path / "large.dcm", heart(rng, shape=(90, 128, 128)))
    write_nc(tmp_path / "small.dcm", heart(rng, shape=(12, 24, 24)))
    node = nodes(limits=Limits(object_bytes=2**20))
    assert send(node, [tmp_path / "large.dcm"]) == [None]
    assert "larger than 1 MiB" in caplog.text
    assert send(node, [tmp_path / "small.dcm"] * 60) == [0] * 60
    full = nodes(spool="full", limits=Limits(reserve_bytes=2**62))
    assert send(full, [tmp_path / "small.dcm"]) == [0xA700]


def test_rubbish_is_refused_and_never_spooled(tmp_path, rng, nodes):
    node = nodes()
    with socket.create_connection(("127.0.0.1", node.receiver.port)) as connection:
        connection.sendall(rng.bytes(5000))
    write_nc(tmp_path / "SA.dcm", heart(rng))
    ds = pydicom.dcmread(tmp_path / "SA.dcm")
    del ds.StudyInstanceUID
    ds.save_as(tmp_path / "no_study.dcm")
    assert send(node, [tmp_path / "no_study.dcm"]) == [0xC000]
    assert send(node, [tmp_path / "SA.dcm"]) == [0]


def test_a_port_in_use_and_a_wrong_destination_are_named(tmp_path, nodes):
    node = nodes()
    with pytest.raises(SetupError, match=str(node.receiver.port)):
        Receiver(Spool(tmp_path / "other"), "SPECTAC", port=node.receiver.port).start()
    assert Destination.parse("PACS@[::1]:104", "SPECTAC") == Destination("PACS", "::1", 104, "SPECTAC")
    for text in ("PACS", "PACS@host", "PACS@host:0", "@host:1", "A" * 17 + "@host:1"):
        with pytest.raises(UsageError, match="AET@host:port"):
            Destination.parse(text, "SPECTAC")
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match="cannot keep"):
        Spool(tmp_path / "file")


@pytest.mark.skipif(dcmtk("storescu") is None, reason="needs storescu (Debian: dcmtk)")
def test_storescu_is_served(tmp_path, rng, nodes, caplog):
    caplog.set_level(logging.INFO)
    write_study(tmp_path / "in", rng, planes=("SA",))
    node = nodes()
    command = [dcmtk("storescu"), "-aec", "SPECTAC", "127.0.0.1", str(node.receiver.port), "+sd", tmp_path / "in"]
    assert subprocess.run(command, timeout=HANGS_S).returncode == 0
    until(lambda: len(files(tmp_path, "corrected")) == 2)
