"""Against a real archive: Orthanc takes what is written, gives it back unchanged, and gets every study once."""

import concurrent.futures
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dcmtk import dcmtk
from fake_study import heart, write_nc, write_study
from patience import HANGS_S, until

from spectac_fast import read_study, write_corrected
from spectac_fast.formats.series import Provenance

NEEDED = (shutil.which("Orthanc"), dcmtk("storescu"), dcmtk("getscu"))
pytestmark = [
    pytest.mark.night,
    pytest.mark.skipif(None in NEEDED, reason="needs Orthanc, storescu and getscu (Debian: orthanc, dcmtk)"),
]

KILLS = 8


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """A running Orthanc with an empty store below `folder`."""

    def __init__(self, folder):
        self.dicom, self.http = free_port(), free_port()
        folder.mkdir()
        settings = {
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "OverwriteInstances": True,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowGet": True,
            "DicomCheckCalledAet": False,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with open(folder / "log", "w") as log:
            self._process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=log, stderr=log)
        until(lambda: self.get("/system"), pause_s=0.1)

    def get(self, path):
        """The bytes at a path of its REST interface; b"" while it is not up."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}") as answer:
                return answer.read()
        except urllib.error.URLError:
            return b""

    def list(self, path):
        return json.loads(self.get(path))

    def stop(self):
        self._process.terminate()
        self._process.wait()


@pytest.fixture
def orthanc(tmp_path):
    orthanc = Orthanc(tmp_path / "orthanc")
    yield orthanc
    orthanc.stop()


def storescu(port, aet, *paths):
    command = [dcmtk("storescu"), "-aec", aet, "127.0.0.1", str(port), *map(str, paths)]
    return subprocess.run(command, capture_output=True, timeout=HANGS_S).returncode


def test_a_round_trip_changes_nothing_and_a_second_send_adds_nothing(orthanc, tmp_path, figures):
    rng = np.random.default_rng(1)
    write_study(tmp_path / "in", rng)
    study = read_study(tmp_path / "in")
    counts = [series.counts * 90 for series in study.series]
    provenance = Provenance("bbdm", "ab" * 32, "0.1.0", {"steps": 1, "device": "cpu"})
    deviations = [np.sqrt(array) for array in counts]
    written = write_corrected(study, counts, tmp_path / "out", provenance=provenance, uncertainty=deviations)
    for _ in range(2):
        assert storescu(orthanc.dicom, "ORTHANC", *written) == 0
        assert len(orthanc.list("/instances")) == 12
        assert len(orthanc.list("/series")) == 12

    mine = {ds.SOPInstanceUID: ds for ds in map(pydicom.dcmread, written)}
    by_rest = [pydicom.dcmread(BytesIO(orthanc.get(f"/instances/{name}/file"))) for name in orthanc.list("/instances")]
    (tmp_path / "got").mkdir()
    query = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study.series[0].header.StudyInstanceUID}"]
    command = [
        dcmtk("getscu"),
        "-S",
        "-aec",
        "ORTHANC",
        "-od",
        tmp_path / "got",
        *query,
        "127.0.0.1",
        str(orthanc.dicom),
    ]
    assert subprocess.run(command, capture_output=True, timeout=HANGS_S).returncode == 0
    by_get = [pydicom.dcmread(path) for path in (tmp_path / "got").iterdir()]
    for back in (by_rest, by_get):
        assert len(back) == 12
        for ds in back:
            assert ds == mine[ds.SOPInstanceUID]
    figures(f"{len(mine)} objects sent twice: {len(by_rest)} instances; by REST and by C-GET equal to what was sent")


class Served:
    """`spectac serve` in a process of its own, which can be killed and started again on the same spool."""

    def __init__(self, spool, orthanc):
        self.port = free_port()
        words = ["serve", "--spool", spool, "--port", self.port, "--forward", f"ORTHANC@127.0.0.1:{orthanc.dicom}"]
        words += ["--stable", "1", "-m", "scale", "-d", "cpu"]
        self._command = [sys.executable, "-m", "spectac_fast.cli", *map(str, words)]
        self._log = Path(f"{spool}.log")
        self.start()

    def start(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with self._log.open("a") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=log, env=environment)
        assert b"listens" in self.process.stdout.readline()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def end(self):
        self.process.terminate()
        assert self.process.wait(HANGS_S) == 0
        self.process.stdout.close()


def test_a_hundred_studies_by_two_senders_through_a_node_that_is_killed(orthanc, tmp_path, figures):
    rng = np.random.default_rng(2)
    studies = [tmp_path / "in" / f"{k:03d}" for k in range(100)]
    for folder in studies:
        for phase in ("stress", "rest"):
            counts = heart(rng, shape=(12, 24, 24))
            write_nc(folder / f"{phase}_SA.dcm", counts, phase=phase, study_key=folder.name)
    node, sent, dice = Served(tmp_path / "spool", orthanc), [], random.Random(3)

    def sender(mine):
        """As a camera's queue does: what was not taken is sent again."""
        for folder in mine:
            until(lambda folder=folder: storescu(node.port, "SPECTAC", *sorted(folder.iterdir())) == 0, pause_s=0.1)
            sent.append(folder)

    started = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        senders = [pool.submit(sender, studies[k::2]) for k in range(2)]
        # Between so many studies and the next ones, however fast the machine is.
        for moment in sorted(dice.sample(range(100), KILLS)):
            until(lambda moment=moment: len(sent) >= moment or any(each.done() for each in senders), pause_s=0.1)
            time.sleep(dice.uniform(0, 1))
            node.kill()
            node.start()
        for each in senders:
            each.result()
    until(lambda: len(orthanc.list("/instances")) >= 200, pause_s=0.1)
    spool = tmp_path / "spool"
    under_way = [spool / stage for stage in ("incoming", "correcting", "outgoing")]
    until(lambda: not any(names for stage in under_way for _, _, names in os.walk(stage)), pause_s=0.1)
    seconds = time.monotonic() - started
    node.end()

    assert len(orthanc.list("/studies")) == 100
    sources = [pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in").rglob("*.dcm")]
    objects = [pydicom.dcmread(BytesIO(orthanc.get(f"/instances/{name}/file"))) for name in orthanc.list("/instances")]
    assert sorted(ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in objects) == sorted(sources)
    assert not list((spool / "dead").iterdir())
    assert "SECRET" not in Path(f"{spool}.log").read_text()
    figures(f"100 studies, 2 senders, node killed {KILLS} times: each arrived once, {seconds:.0f} s")
