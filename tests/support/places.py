"""Where the tests find what does not belong to them: the repository, and the data shared beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
GOLDEN = Path(os.environ.get("SPECTAC_GOLDEN", SHARED / "golden"))
KEYS = SHARED / "reference" / "keys"
SAMPLES = SHARED / "samples"
CASES = SHARED / "cases" / "make_nm_cases.py"
