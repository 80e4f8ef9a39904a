"""What headers say plainly of whom slices are and how they were made; what cannot be is not believed."""

from __future__ import annotations

from dataclasses import fields

import pytest
from fake_study import heart, write_nc
from pydicom import dcmread
from pydicom.dataset import Dataset

from spectac_fast.formats.dicom.facts import header_facts
from spectac_fast.formats.dicom.synthetic import Settings
from spectac_fast.formats.facts import HeaderFacts

ITERATIVE = Settings(
    method="IRNC",
    algorithm="OSEM 4 x 8",
    filter="Butterworth",
    kernel=["0.40/cm", "order 5"],
    scatter="",
    collimator="LEHR",
    views=64,
    start_angle=315.0,
    angular_step=2.8125,
    scan_arc=180.0,
    direction="CC",
    radius_mm=(245.0,),
    frame_ms=25_000,
    prone=False,
    height_m=1.7,
    weight_kg=86.7,
)


@pytest.fixture
def header(tmp_path, rng):
    write_nc(tmp_path / "SA.dcm", heart(rng), settings=ITERATIVE)
    return dcmread(tmp_path / "SA.dcm")


def test_what_the_phantom_says_of_itself(header):
    found = header_facts(header)
    assert found == HeaderFacts(False, pytest.approx(30.0), False, 180.0, False, False, False)


def test_an_empty_header_says_nothing():
    assert all(getattr(header_facts(Dataset()), field.name) is None for field in fields(HeaderFacts))


def rotation(ds, **values):
    for name, value in values.items():
        setattr(ds.RotationInformationSequence[0], name, value)


def detector(ds, grid):
    ds.DetectorInformationSequence[0].CollimatorGridName = grid


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        (lambda ds: setattr(ds, "PatientSex", "M"), "male", True),
        (lambda ds: setattr(ds, "PatientSex", "O"), "male", None),
        # Centimetres where metres belong; a weight that nobody entered; metres in feet.
        (lambda ds: setattr(ds, "PatientSize", "170"), "bmi", pytest.approx(30.0)),
        (lambda ds: setattr(ds, "PatientWeight", "0"), "bmi", None),
        (lambda ds: setattr(ds, "PatientWeight", "8.7"), "bmi", None),
        (lambda ds: setattr(ds, "PatientSize", "5.6"), "bmi", None),
        (lambda ds: setattr(ds, "PatientPosition", "HFP"), "prone", True),
        (lambda ds: rotation(ds, ScanArc="360"), "arc", 360.0),
        (lambda ds: rotation(ds, ScanArc="-180"), "arc", 180.0),
        (lambda ds: rotation(ds, ScanArc="90"), "arc", None),
        (lambda ds: rotation(ds, ScanArc=""), "arc", None),
        (lambda ds: delattr(ds, "RotationInformationSequence"), "arc", None),
        (lambda ds: setattr(ds, "ManufacturerModelName", "Discovery NM 530c"), "cardiac", None),
        (lambda ds: (setattr(ds, "ManufacturerModelName", "D-SPECT"), detector(ds, "")), "cardiac", True),
        (lambda ds: detector(ds, "CZT"), "cardiac", True),
        (lambda ds: detector(ds, "LEGP"), "cardiac", False),
        (lambda ds: detector(ds, "PLEASE ASK"), "cardiac", None),
        (lambda ds: (setattr(ds, "SeriesDescription", "STRESS FBP"), delattr(ds, "ReconstructionMethod")), "fbp", True),
        (lambda ds: setattr(ds, "SeriesDescription", "STRESS FBP"), "fbp", None),
        (lambda ds: setattr(ds, "SeriesDescription", "FBPNC SA") or delattr(ds, "ReconstructionMethod"), "fbp", True),
        (lambda ds: setattr(ds, "CorrectedImage", ["UNIF", "SCAT"]), "scatter_corrected", True),
        (lambda ds: setattr(ds, "CorrectedImage", None), "scatter_corrected", False),
        (lambda ds: setattr(ds, "SeriesDescription", "REST IRNCSC"), "scatter_corrected", True),
    ],
)
def test_one_thing_changed(header, change, name, expected):
    change(header)
    assert getattr(header_facts(header), name) == expected
