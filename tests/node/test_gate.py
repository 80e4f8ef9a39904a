"""The gate before the node: whatever else is connected, an honest peer is served."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import subprocess
import threading
import time

import pytest
from fake_study import Times
from patience import HANGS_S, until

pytest.importorskip("pynetdicom", reason="needs pynetdicom (extra: node)")

from besiegers import FOUR_GB, HALF, Besiegers, request
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from spectac_fast.node import Limits, Node, Patience, Receiver, Spool


@pytest.fixture
def start(tmp_path):
    nodes = []

    def start(patience=None, **options):
        receiver = Receiver(
            Spool(tmp_path / f"spool{len(nodes)}"), "SPECTAC", port=0, patience=patience or Patience(), **options
        )
        nodes.append(Node(receiver, Times(2.0), stable_s=0.3))
        nodes[-1].start()
        return receiver.port

    yield start
    for node in nodes:
        node.stop()


def echo(port, tls=None):
    """An honest peer: whether a C-ECHO is answered with success."""
    ae = AE(ae_title="CAMERA")
    ae.add_requested_context(Verification)
    association = ae.associate("127.0.0.1", port, ae_title="SPECTAC", tls_args=(tls, "localhost") if tls else None)
    if not association.is_established:
        return False
    status = association.send_c_echo().get("Status")
    association.release()
    return status == 0


def attacked(port, content, number):
    found = [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]
    for each in found:
        each.sendall(content)
    return found


@pytest.mark.parametrize("content", [b"", b"\x01", HALF], ids=["silent", "one byte", "half a PDU"])
def test_more_connections_than_there_are_places_do_not_keep_a_peer_out(start, content):
    port = start(limits=Limits(associations=2, connections=16))
    held = attacked(port, content, 40)
    assert all(echo(port) for _ in range(3))
    for each in held:
        each.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (FOUR_GB, "at most 262144 bytes, found 4294967295"),
        (b"GET / HTTP/1.1\r\n\r\n", "expected a DICOM PDU, found type 47h"),
        (b"\x04\0\0\0\0\2ab", "expected a DICOM PDU, found type 04h"),
    ],
)
def test_what_is_no_request_is_closed_at_once_with_a_line(start, caplog, content, reason):
    port = start()
    (connection,) = attacked(port, content, 1)
    connection.settimeout(HANGS_S)
    assert connection.recv(1) == b""
    until(lambda: reason in caplog.text)
    assert len(caplog.records) == 1
    assert echo(port)


def test_a_flood_is_counted_not_logged(start, caplog, monkeypatch):
    port = start()
    for connection in attacked(port, FOUR_GB, 60):
        connection.settimeout(HANGS_S)
        with contextlib.suppress(OSError):
            connection.recv(1)
    assert len(caplog.records) == 20
    monkeypatch.setattr("spectac_fast.node.complaints._WITHIN_S", 0.0)
    attacked(port, FOUR_GB, 1)[0].recv(1)
    until(lambda: len(caplog.records) == 22)
    assert caplog.records[20].getMessage() == "40 more connections were closed or turned away"


def test_a_place_is_waited_for_and_peers_with_few_come_first(start):
    port = start(patience=Patience(yields=0.2, unused=0.2, place=HANGS_S), limits=Limits(associations=2))
    besiegers = Besiegers(port, 6, host="127.0.0.2", kinds=("held",))
    until(lambda: besiegers.came["held"] >= 12)
    assert all(echo(port) for _ in range(3))
    besiegers.end()


def test_half_a_pdu_is_waited_for_as_long_as_was_said(start, caplog):
    port = start(patience=Patience(request=0.2, pdu=0.3))
    silent, half = *attacked(port, b"", 1), *attacked(port, HALF, 1)
    for each in (silent, half):
        each.settimeout(HANGS_S)
        assert each.recv(1) == b""
    until(lambda: "nothing was asked for 0 s" in caplog.text and "not whole after 0 s" in caplog.text)


def test_associations_that_are_held_make_way(start):
    port = start(patience=Patience(unused=0.05), limits=Limits(associations=3))
    ae = AE(ae_title="CAMERA")
    ae.add_requested_context(Verification)
    held = [ae.associate("127.0.0.1", port, ae_title="SPECTAC") for _ in range(3)]
    assert all(each.is_established for each in held)
    time.sleep(0.1)
    assert echo(port)
    # The one that was silent longest, and only that one.
    until(lambda: not held[0].is_established)
    assert held[1].send_c_echo().Status == held[2].send_c_echo().Status == 0x0000


def test_associations_at_work_are_not_cut_off(start):
    port = start(patience=Patience(yields=3600.0, unused=3600.0, place=0.1), limits=Limits(associations=2))
    ae = AE(ae_title="CAMERA")
    ae.add_requested_context(Verification)
    rejected = []
    held = [ae.associate("127.0.0.1", port, ae_title="SPECTAC") for _ in range(2)]
    late = ae.associate("127.0.0.1", port, ae_title="SPECTAC", evt_handlers=[(evt.EVT_REJECTED, rejected.append)])
    assert late.is_rejected
    assert all(each.send_c_echo().Status == 0 for each in held)
    held[0].release()
    until(lambda: echo(port))


def test_a_request_that_makes_no_sense_is_one_line(start, caplog, rng):
    port = start()
    caplog.set_level(logging.DEBUG, logger="spectac_fast")
    rubbish = rng.bytes(200)
    (connection,) = attacked(port, b"\x01\0" + len(rubbish).to_bytes(4, "big") + rubbish, 1)
    connection.settimeout(HANGS_S)
    connection.recv(64)
    connection.close()
    assert echo(port)
    assert len([each for each in caplog.records if each.name.startswith("spectac_fast")]) <= 1


def pdata(content, context=1, control=3):
    """A P-DATA-TF PDU with one presentation data value."""
    value = (len(content) + 2).to_bytes(4, "big") + bytes([context, control]) + content
    return b"\x04\0" + len(value).to_bytes(4, "big") + value


def element(number, value):
    return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


# After a whole request for an association: what no service class takes, of command sets and of PDUs.
MALFORMED = {
    "no control header": b"\x04\0\0\0\0\5\0\0\0\1\1",
    "a value longer than its PDU": b"\x04\0\0\0\0\6\xff\xff\xff\xff\1\3",
    "no command": pdata(b""),
    "no command field": pdata(element(0x110, b"\1\0")),
    "a field that is no number": pdata(element(0x100, b"\1")),
    "an unknown command": pdata(element(0x100, b"\xff\xff") + element(0x800, b"\1\1")),
    "no data set type": pdata(element(0x100, b"\1\0")),
    "a sequence without end": pdata(element(0x100, b"\1\0") + b"\0\0\0\x51" + b"\xff" * 4 + b"\xfe\xff\0\xe0" * 50),
    "rubbish": pdata(bytes(range(256))),
    "an abort of another length": b"\x07\0\0\0\1\0" + b"x" * 256,
    "a context that was not asked for": pdata(element(0x100, b"\1\0"), context=77),
}


def test_what_makes_no_sense_within_an_association_is_one_line(start, caplog, capfd):
    port, asked, threads = start(), request(), threading.active_count()
    for name, content in MALFORMED.items():
        caplog.clear()
        (connection,) = attacked(port, asked + content, 1)
        connection.settimeout(HANGS_S)
        with contextlib.suppress(OSError):
            while connection.recv(4096):
                pass
        connection.close()
        assert echo(port), name
        mine = [each.getMessage() for each in caplog.records if each.name.startswith("spectac_fast")]
        assert len(mine) <= 1, (name, mine)
        assert not [each for each in caplog.records if each.name == "pydicom"], name
    until(lambda: threading.active_count() <= threads)
    assert "Traceback" not in capfd.readouterr().err


def test_an_association_without_a_transfer_syntax_is_one_line(start, caplog, capfd):
    port, asked = start(), request()
    # The sub-items of the only presentation context are of a kind that nobody knows.
    at = asked.index(b"\x40\0\0\x11")
    (connection,) = attacked(port, asked[:at] + b"\x4f" + asked[at + 1 :], 1)
    connection.settimeout(HANGS_S)
    with contextlib.suppress(OSError):
        while connection.recv(4096):
            pass
    connection.close()
    assert echo(port)
    assert len([each for each in caplog.records if each.name.startswith("spectac_fast")]) <= 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    request = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key.pem -out cert.pem"
    made = subprocess.run(request.split(), cwd=folder, capture_output=True)
    if made.returncode:
        pytest.skip("needs openssl")
    return folder


def test_a_silent_peer_does_not_stop_tls(start, certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    client = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
    client.check_hostname = False
    port = start(tls=server, limits=Limits(connections=16))
    held = attacked(port, b"", 20)
    plain = attacked(port, HALF, 1)
    assert echo(port, client)
    # Without TLS nobody is served.
    assert not echo(port)
    for each in held + plain:
        each.close()
