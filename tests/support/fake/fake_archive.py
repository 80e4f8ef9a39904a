"""An archive on this machine that takes NM objects and remembers them."""

from __future__ import annotations

from pynetdicom import AE, evt

from spectac_fast.formats.dicom import NM_IMAGE_STORAGE
from spectac_fast.node import Destination


class Archive:
    """A receiver that keeps what it is sent and answers with `status`."""

    def __init__(self):
        self.objects, self.sent, self.status, self.port = {}, 0, 0x0000, 0

    def start(self):
        ae = AE(ae_title="ARCHIVE")
        ae.add_supported_context(NM_IMAGE_STORAGE)
        self._server = ae.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = self._server.server_address[1]
        return self

    def stop(self):
        self._server.shutdown()

    def _store(self, event):
        self.sent += 1
        if self.status == 0:
            ds = event.dataset
            ds.file_meta = event.file_meta
            self.objects[ds.SOPInstanceUID] = ds
        return self.status


def destination_of(archive):
    """What a node needs to send to it."""
    return Destination("ARCHIVE", "127.0.0.1", archive.port, "SPECTAC")
