"""``python -m spectac_fast.data.demo CASE_FOLDER`` packs the study that `spectac demo` corrects."""

import sys
from pathlib import Path

from spectac_fast.data.demo import ARCHIVE, pack
from spectac_fast.errors import SpectacError

if len(sys.argv) != 2:
    sys.exit("usage: python -m spectac_fast.data.demo CASE_FOLDER")
try:
    target = Path(__file__).with_name(ARCHIVE)
    print(f"{target}: {pack(Path(sys.argv[1]), target)} bytes")
except SpectacError as error:
    sys.exit(f"spectac: {error}")
