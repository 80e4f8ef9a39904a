"""The first cohort stays what it was: its bytes are part of published figures."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from spectac_fast.cohort.cohort import Cohort
from spectac_fast.data.scale import heart_mask

SEED = 650_123
# What counts were drawn depends on the last bit of their expectation, which another CPU or library may round elsewhere.
MADE_WITH = ("2.13.0", "2.", "AVX2", "AuthenticAMD")
ARRAY = "9ff97bcd5dd2d71e5d62cdf69f907ffc8916ba909b2e0a89d82f2875ed09346a"
INDEX = "d232939b5bc08b992e6496b1b57a174a334af84066eb1b8225e471725a1749fb"
FILES = "0fc6f889edb971dfe8ceede347369843528fc050fcc834191becc4c70c29d806"
# Mean counts within 60 mm of the centre of the stress SA stack: NC, AC, TRUTH.
MEANS = (100.32, 352.92, 350.08)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hanoi")
    for form in ("npy", "dicom"):
        command = ("phantom", "--cases", "1", "--seed", str(SEED), "-o", str(folder / form), "--format", form)
        done = subprocess.run(
            [sys.executable, "-m", "spectac_fast.cli", *command, "--jobs", "1", "-d", "cpu"],
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    return folder


def same_machine() -> bool:
    cpu = Path("/proc/cpuinfo")
    vendor = cpu.read_text() if cpu.is_file() else ""
    torch_version, numpy_version, capability, maker = MADE_WITH
    return (
        torch.__version__.startswith(torch_version)
        and np.__version__.startswith(numpy_version)
        and torch.backends.cpu.get_cpu_capability() == capability
        and maker in vendor
    )


def test_the_counts_are_those_of_the_first_cohort(folder: Path) -> None:
    cohort = Cohort(folder / "npy")
    mask = heart_mask((29, 64, 64), cohort.spacing_mm)
    stacks = (*cohort.pair(0, "stress", "SA"), cohort.truth(0, "stress", "SA"))
    # Other photons of the same patient move the mean of 2800 voxels by less.
    assert [float(s[mask].mean()) for s in stacks] == pytest.approx(MEANS, rel=0.01)


def test_the_bytes_are_those_of_the_first_cohort(folder: Path) -> None:
    if not same_machine():
        pytest.skip(f"the bytes are known for torch, numpy, vector width and maker {MADE_WITH}")
    counts = np.load(folder / "npy" / "cohort.npy")
    assert hashlib.sha256(counts.tobytes()).hexdigest() == ARRAY
    assert hashlib.sha256((folder / "npy" / "index.json").read_bytes()).hexdigest() == INDEX
    assert files_digest(folder / "dicom" / f"case-{SEED}") == FILES


def files_digest(case: Path) -> str:
    """SHA-256 of every element but the software's version of every file, and of the truth."""
    digest = hashlib.sha256()
    for path in sorted(case.glob("*.dcm")):
        ds = pydicom.dcmread(path)
        del ds.SoftwareVersions
        digest.update(path.name.encode() + json.dumps(ds.to_json_dict(), sort_keys=True).encode())
    with np.load(case / "truth.npz") as truth:
        digest.update(truth["truth"].tobytes())
    return digest.hexdigest()
