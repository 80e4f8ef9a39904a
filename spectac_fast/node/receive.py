"""C-STORE in: every object is on disk, whole, before the sender hears that it was received."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, Association, evt
from pynetdicom.sop_class import Verification
from pynetdicom.transport import AssociationServer, RequestHandler

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import NM_IMAGE_STORAGE, glance, quiet_pydicom
from spectac_fast.node.complaints import Complaints
from spectac_fast.node.gate import Gate, Patience
from spectac_fast.node.spool import Spool

_log = logging.getLogger(__name__)

_DECODED_WITHIN_S = 5.0
_SUCCESS, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000


@dataclass(frozen=True)
class Limits:
    """What senders may ask for: bytes of one object, associations at a time, connections at a time with those that have
    asked for none yet; and bytes of disk that must stay free."""

    object_bytes: int = 64 * 2**20
    associations: int = 10
    connections: int = 128
    reserve_bytes: int = 256 * 2**20


@dataclass
class Receiver:
    """Listens for NM objects and puts them into a spool.

    aet, host, port: where; port 0 takes any free one (`port` then says which). allowed: calling AE titles, all if
    empty. tls: context for TLS, or None. patience: how long a peer may take over what.
    """

    spool: Spool
    aet: str
    host: str = "127.0.0.1"
    port: int = 11112
    allowed: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    tls: ssl.SSLContext | None = None
    patience: Patience = field(default_factory=Patience)

    def start(self) -> None:
        """Listen in threads of its own until `stop`. Raises SetupError where the port cannot be had."""
        ae = AE(ae_title=self.aet)
        ae.add_supported_context(Verification)
        ae.add_supported_context(NM_IMAGE_STORAGE, [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
        ae.require_called_aet = True
        ae.require_calling_aet = list(self.allowed)
        # The request is there, whole; one that cannot be decoded is waited for all the same.
        ae.acse_timeout = _DECODED_WITHIN_S
        # The gate counts; of those that it closed, some threads may not have ended yet.
        ae.maximum_associations = self.limits.associations + self.limits.connections
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._count),
            (evt.EVT_CONN_CLOSE, self._forget),
            (evt.EVT_REJECTED, self._said),
        ]
        self._received: dict[int, int] = {}
        self._gate = Gate(
            self.host,
            self.port,
            associations=self.limits.associations,
            connections=self.limits.connections,
            tls=self.tls,
            patience=self.patience,
        )
        self.port = self._gate.port
        _quieten()
        classes = {"server_class": _Indoors, "request_handler": _Host}
        self._service = ae.make_server(("127.0.0.1", self.port), evt_handlers=handlers, **classes)
        self._gate.start(self._service.process_request)

    def stop(self) -> None:
        """Take nothing more; what is being received is cut off, so its sender knows that it was not stored."""
        self._gate.stop()
        _complaints.end()
        for association in self._service.active_associations:
            association.join(_DECODED_WITHIN_S)
        self._service.server_close()

    def _store(self, event: evt.Event) -> int:
        self._forget(event)
        name = Path(f"object from {event.assoc.requestor.ae_title}")
        try:
            if not self.spool.has_room(self.limits.reserve_bytes):
                raise OSError("no room")
            content = event.encoded_dataset()
            study, *_ = glance(name, content)
            if not study:
                raise InputError(f"{name}: expected a Study Instance UID, found none.")
            self.spool.receive(study, str(event.request.AffectedSOPInstanceUID), content)
        except InputError as reason:
            _log.warning("refused: %s", reason)
            return _CANNOT_UNDERSTAND
        except OSError as error:
            _log.error("cannot keep what is sent: %s", error.strerror or error)
            return _OUT_OF_RESOURCES
        return _SUCCESS

    def _count(self, event: evt.Event) -> None:
        """Close the connection of a sender whose object grows beyond the limit: it would be held in memory whole."""
        key = id(event.assoc)
        self._received[key] = self._received.get(key, 0) + len(event.data)
        if self._received[key] > self.limits.object_bytes:
            _log.warning("an object larger than %d MiB was cut off", self.limits.object_bytes >> 20)
            event.assoc.dul.socket.socket.shutdown(socket.SHUT_RDWR)

    def _forget(self, event: evt.Event) -> None:
        self._received.pop(id(event.assoc), None)

    def _said(self, event: evt.Event) -> None:
        _complaints.say("an association was rejected: calling or called AE title")


class _Indoors(AssociationServer):
    """Serves associations that are handed to it and listens nowhere: `process_request` returns at once."""

    def server_bind(self) -> None:
        pass

    def server_activate(self) -> None:
        pass


class _Once:
    """What both threads of an association may say, once."""

    def __init__(self) -> None:
        self._said = False

    def say(self) -> None:
        if not self._said:
            self._said = True
            _complaints.say("what a peer sent could not be understood; its association was closed")


class _Here(threading.local):
    """What a thread may say."""

    once: _Once | None = None


_complaints, _here = Complaints(), _Here()


class _Host(RequestHandler):
    """Makes associations whose threads end with a line, and not with a page that quotes what was sent."""

    def _create_association(self) -> Association:
        association, once = super()._create_association(), _Once()
        for thread in (association, association.dul):
            thread.run = functools.partial(_to_the_end, thread.run, association, once)
        return association


def _to_the_end(work: Callable[[], None], association: Association, once: _Once) -> None:
    """What a thread of an association does; whatever pynetdicom did not foresee closes the connection."""
    _here.once = once
    try:
        # pydicom reads commands, too, and quotes what it finds odd.
        with quiet_pydicom():
            work()
    except Exception:
        once.say()
        connection = association.dul.socket
        if connection is not None and connection.socket is not None:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)


class _OneLine(logging.Handler):
    """A line where pynetdicom logs an exception: its own may run over a page and quote what was sent.

    Connections that break are the gate's business, and of one association it logs several.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and not isinstance(record.exc_info[1], OSError):
            (_here.once or _Once()).say()


def _quieten() -> None:
    logger = logging.getLogger("pynetdicom")
    logger.propagate = False
    if not any(isinstance(each, _OneLine) for each in logger.handlers):
        logger.addHandler(_OneLine(logging.ERROR))
