"""C-STORE out: sending what was corrected, again and again where the receiver is away."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE

from spectac_fast.errors import SpectacError, UsageError
from spectac_fast.formats.dicom import NM_IMAGE_STORAGE

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

        Raises Refused for an object that will never be taken, Away where it is worth trying again; what was sent until
        then is gone.
        """
        ae = AE(ae_title=self.own)
        ae.connection_timeout = 10
        ae.add_requested_context(NM_IMAGE_STORAGE, ExplicitVRLittleEndian)
        tls = (self.tls, self.host) if self.tls else None
        association = ae.associate(self.host, self.port, ae_title=self.aet, tls_args=tls)
        if not association.is_established:
            raise Away(f"{self.aet}@{self.host}:{self.port}: no association")
        try:
            for path in paths:
                status = association.send_c_store(dcmread(path)).get("Status")
                if status in _FINAL:
                    raise Refused(f"{self.aet} refused {path.name} with status {status:04X}.")
                # A warning (B000 and the like) is a success with remarks.
                if status is None or (status != 0 and status & 0xF000 != 0xB000):
                    raise Away(f"{self.aet}@{self.host}:{self.port}: {path.name} was not taken")
                path.unlink()
        except (ValueError, RuntimeError) as error:
            # No presentation context for it, or an association that has gone.
            raise Away(f"{self.aet}@{self.host}:{self.port}: the association ended ({type(error).__name__})") from None
        finally:
            association.release()
