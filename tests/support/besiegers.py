"""Peers of a DICOM node that mean no good: they hold what they get, stop halfway, say nothing or claim gigabytes."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import ssl
import threading

from pynetdicom import AE
from pynetdicom.sop_class import Verification

FOUR_GB = b"\x01\0" + (2**32 - 1).to_bytes(4, "big")
HALF = b"\x01\0\0\0\0\xce" + b"\0\1" + b"\0" * 30
# One that was cut off comes again after so long.
_COMES_BACK_S = 2.0


def request(called="SPECTAC", calling="CAMERA"):
    """The bytes of a whole request for an association, as pynetdicom sends it."""
    ae = AE(ae_title=calling)
    ae.add_requested_context(Verification)
    ae.acse_timeout = 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        asking = threading.Thread(target=ae.associate, args=("127.0.0.1", port), kwargs={"ae_title": called})
        asking.start()
        connection, _ = server.accept()
        with connection:
            header = connection.recv(6, socket.MSG_WAITALL)
            asked = header + connection.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL)
        asking.join()
    return asked


class Besiegers:
    """`each` connections of every kind, from `host`, that come back when they are cut off, until `end`.

    tls: context with which all but the silent shake hands first, or None.
    """

    def __init__(self, port, each, *, host="127.0.0.1", tls=None, kinds=("held", "half-open", "silent", "4 GB")):
        self.port, self.host, self.tls = port, host, tls
        content = {"held": request(), "half-open": HALF, "silent": b"", "4 GB": FOUR_GB}
        self.content = {kind: content[kind] for kind in kinds}
        self.number = each * len(self.content)
        self.came, self.open, self.most_open = collections.Counter(), 0, 0
        self._loop = asyncio.new_event_loop()
        self._all = self._loop.create_task(self._besiege(each))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self):
        self._loop.call_soon_threadsafe(self._all.cancel)
        self._thread.join()

    def _run(self):
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._all)
        self._loop.close()

    async def _besiege(self, each):
        await asyncio.gather(*(self._one(kind) for kind in self.content for _ in range(each)))

    async def _one(self, kind):
        while True:
            with contextlib.suppress(OSError, ssl.SSLError, asyncio.IncompleteReadError):
                await self._stay(kind)
            await asyncio.sleep(_COMES_BACK_S)

    async def _stay(self, kind):
        """Connect, say what there is to say, and stay until the node closes."""
        tls = self.tls if kind != "silent" else None
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(self.host, 0), ssl=tls, server_hostname="localhost" if tls else None
        )
        self.came[kind] += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            writer.write(self.content[kind])
            while await reader.read(2**12):
                pass
        finally:
            self.open -= 1
            writer.transport.abort()
