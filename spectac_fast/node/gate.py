"""Between the network and the DICOM service: only whole PDUs of bounded length, of peers that keep moving, go through.

pynetdicom reads as many bytes as a peer announces and waits for them, in a thread for each connection, and shakes hands
by TLS in the thread that accepts. So a peer that says nothing, or half a PDU, or that four gigabytes will follow, would
hold the service. Here all connections share one event loop, and the service hears of a peer when its request for an
association has arrived whole.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from typing import Any

from spectac_fast.errors import SetupError
from spectac_fast.node.complaints import Complaints

# As the socket module gives them: host and port, for IPv6 two numbers more.
Address = tuple[Any, ...]

_REQUEST, _DATA = 0x01, 0x04
_KINDS = range(0x01, 0x08)
# Longest PDU of each sort, bytes: a request names at most 128 presentation contexts; data is asked for in PDUs of
# 16 KiB, which some senders take for a hint.
_LONGEST = {_REQUEST: 2**18, _DATA: 2**20}
_LONGEST_OTHER = 2**16
# Seconds between two looks whether an association has been silent for long enough.
_SETTLES_S = 0.05
# A-ASSOCIATE-RJ: transient, by the presentation-related provider, local limit exceeded (PS3.8 9.3.4).
_FULL = bytes([0x03, 0, 0, 0, 0, 4, 0, 2, 3, 2])


@dataclass(frozen=True)
class Patience:
    """Seconds: for the TLS handshake, for the request for an association, for the rest of a PDU that has begun, between
    two PDUs; how long an association must have been silent to make way where all places are taken, and one that was
    never used; and how long a request waits for a place before it is rejected."""

    handshake: float = 10.0
    request: float = 10.0
    pdu: float = 30.0
    idle: float = 60.0
    yields: float = 1.0
    unused: float = 0.25
    place: float = 5.0


@dataclass(eq=False)
class _Guest:
    """One connection: from where, when it last moved, whether it has asked for an association, has one, and used it."""

    peer: Address
    moved: float = field(default_factory=time.monotonic)
    place: asyncio.Future[None] | None = None
    admitted: bool = False
    used: bool = False
    task: asyncio.Task[None] | None = None


class _NotDicom(Exception):
    """What a peer did wrong, for one line of the log."""


class Gate:
    """Listens on host:port (0: any free one, `port` then says which) and passes associations on to a service.

    Args:
        associations: how many the service has at a time. connections: how many in all, most of which are yet to ask;
            of one peer half as many.
        tls: context for TLS, or None. patience: see `Patience`.

    Where all connections are taken, one makes way for the new one: the one that has been silent longest of those that
    never asked for an association, or else of the associations that have been silent for long enough (`Patience`).
    Where there is none, the new one is turned away. Where all associations are taken, a request waits for one, those
    of peers with few before those of peers with many. Raises SetupError where the port cannot be had.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        associations: int,
        connections: int,
        tls: ssl.SSLContext | None = None,
        patience: Patience | None = None,
    ) -> None:
        self.associations, self.connections = associations, connections
        self.tls, self.patience = tls, patience or Patience()
        self._listener = _listening(host, port, connections)
        self.port = int(self._listener.getsockname()[1])
        self._guests: set[_Guest] = set()
        self._asking: list[_Guest] = []
        self._settling: asyncio.TimerHandle | None = None
        self._complaints = Complaints()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self, service: Callable[[socket.socket, Address], None]) -> None:
        """Let peers in, in a thread of its own; `service` is handed a socket and the peer's address per association."""
        self._service = service
        self._main = self._loop.create_task(self._keep())
        self._thread.start()

    def stop(self) -> None:
        """Close the port and every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._main.cancel)
            self._thread.join()
        self._listener.close()
        self._complaints.end()

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main)
        self._loop.close()

    async def _keep(self) -> None:
        try:
            await self._accept()
        finally:
            tasks = [guest.task for guest in self._guests if guest.task]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        while True:
            try:
                connection, address = await self._loop.sock_accept(self._listener)
            except OSError as error:
                # Gone again, or no file descriptor is left for it.
                self._complaints.say(f"a connection could not be taken ({error.strerror})")
                await asyncio.sleep(0.1)
                continue
            guest = _Guest(address)
            neighbours = {each for each in self._guests if each.peer[0] == guest.peer[0]}
            if (len(neighbours) >= self.connections // 2 and not self._make_way(neighbours)) or (
                len(self._guests) >= self.connections and not self._make_way(self._guests)
            ):
                connection.close()
                continue
            self._guests.add(guest)
            guest.task = self._loop.create_task(self._serve(guest, connection))
            guest.task.add_done_callback(functools.partial(self._leave, guest))

    def _leave(self, guest: _Guest, _: asyncio.Task[None]) -> None:
        self._guests.discard(guest)
        self._settle()

    def _make_way(self, among: Iterable[_Guest]) -> bool:
        """Close the connection that will be missed least; False where there is none."""
        waiting = [each for each in among if each.place is None]
        silent = [each for each in among if each.admitted and self._is_silent(each)]
        chosen = min(waiting or silent, key=lambda each: each.moved, default=None)
        if chosen is None or chosen.task is None:
            return False
        self._guests.discard(chosen)
        chosen.task.cancel()
        return True

    def _is_silent(self, guest: _Guest) -> bool:
        return time.monotonic() - guest.moved >= (self.patience.yields if guest.used else self.patience.unused)

    async def _has_place(self, guest: _Guest) -> bool:
        """Wait until the guest may have an association; False where it waited in vain."""
        guest.place = self._loop.create_future()
        self._asking.append(guest)
        self._settle()
        try:
            await asyncio.wait_for(guest.place, self.patience.place)
        except TimeoutError:
            return False
        finally:
            self._asking = [each for each in self._asking if each is not guest]
        return True

    def _settle(self) -> None:
        """Give what places there are to those who ask, and come again while some are still asking."""
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        while asking := [(each, each.place) for each in self._asking if each.place and not each.place.done()]:
            admitted = [each for each in self._guests if each.admitted]
            if len(admitted) >= self.associations and not self._make_way(admitted):
                self._settling = self._loop.call_later(_SETTLES_S, self._settle)
                return
            of_peer = collections.Counter(each.peer[0] for each in admitted)
            chosen, place = min(asking, key=lambda each: of_peer[each[0].peer[0]])
            chosen.admitted, chosen.moved = True, time.monotonic()
            place.set_result(None)

    async def _serve(self, guest: _Guest, connection: socket.socket) -> None:
        try:
            reader, writer = await self._shake_hands(connection)
        except (TimeoutError, OSError):
            connection.close()
            return
        try:
            await self._host(guest, reader, writer)
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), self.patience.request)
        except _NotDicom as reason:
            self._complaints.say(f"a connection was closed: {reason}")
        except (TimeoutError, OSError):
            pass
        finally:
            writer.transport.abort()

    async def _shake_hands(self, connection: socket.socket) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol,
            connection,
            ssl=self.tls,
            ssl_handshake_timeout=self.patience.handshake if self.tls else None,
        )
        return reader, asyncio.StreamWriter(transport, protocol, reader, self._loop)

    async def _host(self, guest: _Guest, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Everything from the request for an association to its end."""
        request = await self._pdu(reader, self.patience.request, [_REQUEST])
        if request is None:
            return
        if not await self._has_place(guest):
            self._complaints.say(f"an association was rejected: {self.associations} at a time are allowed")
            writer.write(_FULL)
            await writer.drain()
            return
        ours, theirs = socket.socketpair()
        answers, service = await asyncio.open_connection(sock=ours)
        self._service(theirs, guest.peer)
        ways = [
            self._loop.create_task(self._inward(guest, request, reader, service)),
            self._loop.create_task(self._outward(guest, answers, writer)),
        ]
        try:
            ended, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ended:
                way.result()
        finally:
            for way in ways:
                way.cancel()
            service.close()
            # What the other way has met in the same moment is of no interest any more.
            await asyncio.gather(*ways, return_exceptions=True)

    async def _inward(
        self, guest: _Guest, pdu: bytes | None, reader: asyncio.StreamReader, service: asyncio.StreamWriter
    ) -> None:
        while pdu is not None:
            guest.moved = time.monotonic()
            service.write(pdu)
            await service.drain()
            pdu = await self._pdu(reader, self.patience.idle, _KINDS)
            guest.used = True

    async def _outward(self, guest: _Guest, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while answer := await answers.read(2**16):
            guest.moved = time.monotonic()
            writer.write(answer)
            await asyncio.wait_for(writer.drain(), self.patience.pdu)

    async def _pdu(self, reader: asyncio.StreamReader, wait_s: float, kinds: Container[int]) -> bytes | None:
        """The next PDU, whole; None where the peer has ended the connection between two."""
        try:
            header = await asyncio.wait_for(reader.readexactly(6), wait_s)
        except asyncio.IncompleteReadError as error:
            if not error.partial:
                return None
            raise _NotDicom("it ended within a PDU") from None
        except TimeoutError:
            raise _NotDicom(f"nothing was asked for {wait_s:.0f} s") from None
        kind, length = header[0], int.from_bytes(header[2:], "big")
        if kind not in kinds:
            raise _NotDicom(f"expected a DICOM PDU, found type {kind:02X}h")
        longest = _LONGEST.get(kind, _LONGEST_OTHER)
        if length > longest:
            raise _NotDicom(f"expected a PDU of at most {longest} bytes, found {length}")
        try:
            return header + await asyncio.wait_for(reader.readexactly(length), self.patience.pdu)
        except asyncio.IncompleteReadError:
            raise _NotDicom("it ended within a PDU") from None
        except TimeoutError:
            raise _NotDicom(f"a PDU was not whole after {self.patience.pdu:.0f} s") from None


def _listening(host: str, port: int, backlog: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(backlog)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise SetupError(f"{host}:{port}: cannot listen here ({error.strerror or error}).") from None
    return listener
