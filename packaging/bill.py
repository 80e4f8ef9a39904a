"""Bill of materials (CycloneDX) of a wheel and of all that it brings.

    python packaging/bill.py WHEEL PYTHON OUT.cdx.json

PYTHON is of an environment that holds nothing but the wheel and what came with it. Needs cyclonedx-bom. pyproject.toml
itself will not do: its version is dynamic, and a bill whose subject has no version is of nothing.
"""

from __future__ import annotations

import email
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path


def project(wheel: Path) -> str:
    """The head of a pyproject.toml that says of the wheel's project what the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        said = email.message_from_bytes(archive.read(name))
    needed = [line for line in said.get_all("Requires-Dist", []) if not re.search(r"\bextra\b", line)]
    head = {"name": "Name", "version": "Version", "description": "Summary", "license": "License-Expression"}
    lines = [f"{key} = {json.dumps(said[field])}" for key, field in head.items()]
    return "\n".join(["[project]", *lines, f"dependencies = {json.dumps(needed)}"]) + "\n"


def main(wheel: Path, python: str, out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder) / "pyproject.toml"
        described.write_text(project(wheel), encoding="utf-8")
        command = ["cyclonedx-py", "environment", python, "--pyproject", str(described), "--mc-type", "library"]
        subprocess.run([*command, "--output-reproducible", "--validate", "--output-file", str(out)], check=True)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
