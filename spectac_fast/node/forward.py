"""C-STORE out: sending what was corrected, again and again where the receiver is away."""

from __future__ import annotations

import math
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from spectac_fast.errors import InputError, SpectacError, UsageError
from spectac_fast.formats.dicom import NM_IMAGE_STORAGE
from spectac_fast.formats.dicom.parse import parse, sentences

# The receiver has the object: success, with remarks (warnings of PS3.7 annex C), or from an earlier time.
_TAKEN = (0x0000, 0x0001, 0x0107, 0x0111, 0x0116, *range(0xB000, 0xC000))
# Statuses that say "not this object, ever"; everything else that is no success may pass with time.
_FINAL = (0x0117, 0x0122, 0x0124, *range(0xA900, 0xAA00), *range(0xC000, 0xD000))


class Refused(SpectacError):
    """The receiver will not take the object, however often it is sent."""


class Away(SpectacError):
    """The receiver cannot be reached, or cannot take anything now."""


@dataclass(frozen=True)
class Destination:
    """Where corrected series go. own: the AE title they come from. tls: context for TLS, or None."""

    aet: str
    host: str
    port: int
    own: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def parse(cls, text: str, own: str, tls: ssl.SSLContext | None = None) -> Destination:
        """From AET@host:port; raises UsageError for anything else."""
        match = re.fullmatch(r"([!-?A-~]{1,16})@\[?([^@\[\]]+)\]?:(\d{1,5})", text)
        if not match or not 0 < int(match[3]) < 65536:
            raise UsageError(f"--forward: expected AET@host:port, found {text!r}.")
        return cls(match[1], match[2], int(match[3]), own, tls)

    def send(self, paths: Iterable[Path]) -> None:
        """Send the files in one association and delete each that was taken.

        Raises Away where it is worth trying again, else Refused for objects that will never be taken or that cannot be
        read, when all others were sent; what was sent until then is gone. Raises OSError where a file cannot be had.
        """
        ae = AE(ae_title=self.own)
        ae.connection_timeout = 10
        ae.add_requested_context(NM_IMAGE_STORAGE, ExplicitVRLittleEndian)
        tls = (self.tls, self.host) if self.tls else None
        association = ae.associate(self.host, self.port, ae_title=self.aet, tls_args=tls)
        if not association.is_established:
            raise Away(f"{self.aet}@{self.host}:{self.port}: no association")
        refused = []
        try:
            for path in paths:
                try:
                    ds = _whole(path)
                except InputError as reason:
                    refused.append(str(reason))
                    continue
                status = association.send_c_store(ds).get("Status")
                if status in _FINAL:
                    refused.append(f"{self.aet} refused {path.name} with status {status:04X}.")
                elif status not in _TAKEN:
                    raise Away(f"{self.aet}@{self.host}:{self.port}: {path.name} was not taken")
                else:
                    path.unlink()
        except (ValueError, RuntimeError) as error:
            # No presentation context for it, or an association that has gone.
            raise Away(f"{self.aet}@{self.host}:{self.port}: the association ended ({type(error).__name__})") from None
        finally:
            association.release()
        if refused:
            raise Refused(" ".join(refused))


def _whole(path: Path) -> Dataset:
    """The object in a file of our own making, of which a power cut may have left less. Raises InputError."""
    content = path.read_bytes()
    name = Path(path.name)
    with sentences(name):
        ds = parse(name, content)
        ds.decode()
        pixels = len(ds.get("PixelData", b""))
        bits = math.prod(int(ds.get(each, 0)) for each in ("Rows", "Columns", "NumberOfFrames", "BitsAllocated"))
    if not 0 < bits <= 8 * pixels:
        raise InputError(f"{name}: expected a whole DICOM object, found {len(content)} bytes.")
    return ds
