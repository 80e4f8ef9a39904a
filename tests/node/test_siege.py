"""A node under siege: beside two hundred peers that mean no good it answers, corrects and sends on."""

from __future__ import annotations

import collections
import math
import os
import socket
import ssl
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pydicom
import pytest
from patience import HANGS_S, until

pytest.importorskip("pynetdicom", reason="needs pynetdicom (extra: node)")

from besiegers import Besiegers
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from bench.evidence.studies import write_studies
from spectac_fast.formats.dicom import NM_IMAGE_STORAGE

pytestmark = pytest.mark.night

STUDIES, OF_A_KIND = 50, 50
GIB = 2**20


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key.pem -out cert.pem"
    if subprocess.run(request.split(), cwd=folder, capture_output=True).returncode:
        pytest.skip("needs openssl")
    return folder


class Served:
    """`spectac serve` with the shipped model, in a process of its own, at its default settings."""

    def __init__(self, folder, forward, tls):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = ["serve", "--spool", folder / "spool", "--port", self.port, "--stable", 1, "-d", "cpu"]
        words += ["--forward", f"ARCHIVE@127.0.0.1:{forward}"]
        words += ["--tls-cert", tls / "cert.pem", "--tls-key", tls / "key.pem"] if tls else []
        self.spool, self._log = folder / "spool", folder / "log"
        with self._log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spectac_fast.cli", *map(str, words)], stdout=subprocess.PIPE, stderr=log
            )
        assert b"listens" in self.process.stdout.readline()

    def said(self):
        return self._log.read_text()

    def largest_resident(self):
        """KiB."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))

    def end(self):
        self.process.terminate()
        assert self.process.wait(HANGS_S) == 0
        self.process.stdout.close()


@pytest.fixture
def serve(tmp_path):
    started = []

    def serve(*args):
        started.append(Served(tmp_path, *args))
        return started[-1]

    yield serve
    for each in started:
        each.process.kill()
        each.process.wait()


class Peer:
    """A camera that means well: it asks for an association with one kind of object until it has one."""

    def __init__(self, port, context, tls):
        self._ae = AE(ae_title="CAMERA")
        self._ae.add_requested_context(context, pydicom.uid.ExplicitVRLittleEndian)
        self._to = {"addr": "127.0.0.1", "port": port, "ae_title": "SPECTAC"}
        self._tls = (tls, "localhost") if tls else None

    def ask(self, work):
        """What `work` gives of an association; None where there was none."""
        association = self._ae.associate(**self._to, tls_args=self._tls)
        if not association.is_established:
            return None
        try:
            return work(association)
        finally:
            association.release()


def send_all(port, tls, folders, sent):
    peer = Peer(port, NM_IMAGE_STORAGE, tls)
    for folder in folders:
        objects = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]

        def store(association, objects=objects):
            return [association.send_c_store(ds).get("Status") for ds in objects]

        until(lambda store=store: peer.ask(store) == [0], pause_s=0.1)
        sent.append(folder)


def echo_all(port, tls, answered, stop):
    """Seconds of every C-ECHO, with its association; infinite where it was not answered."""
    peer = Peer(port, Verification, tls)
    while not stop.wait(0.2):
        answered.append(echoed(peer))


def echoed(peer):
    started = time.perf_counter()
    status = peer.ask(lambda association: association.send_c_echo().get("Status"))
    return time.perf_counter() - started if status == 0 else math.inf


@pytest.mark.parametrize(
    ("host", "secure"),
    [("127.0.0.1", False), ("127.0.0.2", False), ("127.0.0.2", True)],
    ids=["at the address of honest peers", "at another address", "at another address, by TLS"],
)
def test_a_node_besieged(tmp_path, archive, serve, request, figures, host, secure):
    tls = request.getfixturevalue("certificate") if secure else None
    client = ssl.create_default_context(cafile=str(tls / "cert.pem")) if tls else None
    write_studies(tmp_path / "in", STUDIES, slices=10)
    node = serve(archive.port, tls)
    alone = [echoed(Peer(node.port, Verification, client)) for _ in range(15)]
    besiegers = Besiegers(node.port, OF_A_KIND, host=host, tls=client)
    until(lambda: sum(besiegers.came.values()) >= besiegers.number)
    answered, sent, stop = [], [], threading.Event()
    echoing = threading.Thread(target=echo_all, args=(node.port, client, answered, stop))
    sending = threading.Thread(target=send_all, args=(node.port, client, sorted((tmp_path / "in").iterdir()), sent))
    started = time.monotonic()
    for each in (echoing, sending):
        each.start()
    sending.join()
    until(lambda: len(archive.objects) >= STUDIES)
    under_way = [node.spool / stage for stage in ("incoming", "correcting", "outgoing")]
    until(lambda: not any(names for stage in under_way for _, _, names in os.walk(stage)))
    seconds = time.monotonic() - started
    stop.set()
    echoing.join()
    besiegers.end()
    resident = node.largest_resident()
    node.end()

    median = statistics.median(answered)
    heard = [each for each in answered if each < math.inf]
    figures(
        f"{besiegers.number} hostile peers at once ({dict(besiegers.came)} connections), {seconds:.0f} s: "
        f"C-ECHO answered at the first attempt {len(heard)} of {len(answered)} times, median {median:.3f} s, largest "
        f"{max(heard):.3f} s, {statistics.median(alone):.3f} s before they came; {len(archive.objects)} of {STUDIES} "
        f"studies arrived, {archive.sent} objects sent; resident at most {resident / 2**10:.0f} MiB"
    )
    # Of all, those that were not answered too.
    assert median < 1
    assert resident < GIB
    sources = collections.Counter(pydicom.dcmread(path).SOPInstanceUID for path in (tmp_path / "in").rglob("*.dcm"))
    arrived = (ds.SourceImageSequence[0].ReferencedSOPInstanceUID for ds in archive.objects.values())
    assert collections.Counter(arrived) == sources
    assert archive.sent == STUDIES
    assert not list((node.spool / "dead").iterdir())
    assert "Traceback" not in node.said()
