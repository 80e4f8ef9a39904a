"""The examples run as they are, and need no more than they say."""

from __future__ import annotations

import re
import subprocess
import sys

BLOCKED = """
import runpy, sys
sys.modules["pydicom"] = None
runpy.run_path({path!r})
unwanted = ("spectac_fast.data", "spectac_fast.models", "spectac_fast.train", "scipy", "skimage", "matplotlib")
print([name for name in sys.modules if name.startswith(unwanted)])
"""


def test_the_sampler_alone_needs_no_dicom(repository):
    path = repository / "examples/import_sampler.py"
    code = BLOCKED.format(path=str(path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shapes, loaded = run.stdout.splitlines()
    assert re.fullmatch(r"mean \(3, 1, 64, 64\), spread of the samples \d+\.\d{3}", shapes)
    assert loaded == "[]"
    body = [line for line in path.read_text().splitlines()[1:] if line.strip()]
    assert len(body) <= 10
