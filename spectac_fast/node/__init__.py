"""A DICOM node: NC series come in over the network, AC series go out. Importing this imports pynetdicom; of the
package it takes `correct`, `models` and `formats`. `gate` keeps the network's bad manners out, and `complaints` logs
them; `spool` keeps what is under way on disk, `receive` and `forward` speak DICOM, `service` runs them together.
"""

from spectac_fast.node.forward import Destination
from spectac_fast.node.gate import Patience
from spectac_fast.node.receive import Limits, Receiver
from spectac_fast.node.service import Node
from spectac_fast.node.spool import Spool

__all__ = ["Destination", "Limits", "Node", "Patience", "Receiver", "Spool"]
