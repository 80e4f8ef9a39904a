"""Slopes, intercepts, tables and units: what a header maps stored values to, and what is written maps back to."""

import shutil
import subprocess

import numpy as np
import pytest
from fake_study import Times
from fake_values import by_rule, read, real_world, smooth, write_values
from pydicom.dataset import Dataset

from spectac_fast import read_study, write_corrected
from spectac_fast.correct import correct_study
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series


def rescale(slope, intercept="0", kind=None):
    def change(ds):
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        if kind:
            ds.RescaleType = kind

    return change


def mapped(*items, **beside):
    def change(ds):
        ds.RealWorldValueMappingSequence = list(items)
        for keyword, value in beside.items():
            setattr(ds, keyword, value)

    return change


def lookup(table, first=0, raw=False):
    def change(ds):
        item = Dataset()
        item.add_new("LUTDescriptor", "US", [len(table), first, 16])
        data = np.asarray(table, "<u2")
        item.add_new("LUTData", *(("OW", data.tobytes()) if raw else ("US", data.tolist())))
        item.ModalityLUTType = "US"
        ds.ModalityLUTSequence = [item]

    return change


def series_of(tmp_path, values, change, **storage):
    return read_series(write_values(tmp_path / "SA.dcm", values, change, **storage))


def written(tmp_path, values, change, factor=2.0, **storage):
    """The series in such a file, and the data set of what is derived from it with `factor` times its counts."""
    study = read_study(write_values(tmp_path / "SA.dcm", values, change, **storage))
    (counts,) = correct_study(study, Times(factor))
    (path,) = write_corrected(study, [counts], tmp_path / "out")
    return study.series[0], read(path)


def agrees(ds, counts):
    """Whether every rule gives `counts` within half a step and what single precision costs on the way to a model."""
    rounding = 8 * np.finfo(np.float32).eps * counts.max()
    step = ds.RealWorldValueMappingSequence[0].RealWorldValueSlope
    rules = {"real world", *(["rescale"] if step != 1 or "RescaleSlope" in ds else [])}
    return all(np.abs(by_rule(ds, rule) - counts).max() <= step / 2 + rounding for rule in rules)


SQUARES = [float(k) ** 2 / 1000 for k in range(1000)]
# Change of the header, counts as a function of stored values, a word of the notes.
MAPPINGS = {
    "none": (None, lambda v: v, ""),
    "rescale": (rescale("0.25"), lambda v: v / 4, ""),
    "rescale, not round": (rescale("0.0123456789", "0"), lambda v: v * 0.0123456789, ""),
    "rescale with intercept": (rescale("2", "-40"), lambda v: 2 * v - 40, "below zero"),
    "intercept alone": (lambda ds: setattr(ds, "RescaleIntercept", "7"), lambda v: v + 7, ""),
    "empty rescale": (rescale(None, None), lambda v: v, ""),
    "falling": (rescale("-1", "900"), lambda v: 900 - v, "slope is negative"),
    "real world": (mapped(real_world(1 / 3)), lambda v: v / 3, ""),
    "real world with intercept": (mapped(real_world(0.5, 30.0)), lambda v: v / 2 + 30, ""),
    "real world beyond its range": (mapped(real_world(0.5, last=200)), lambda v: v / 2, "beyond those"),
    "both alike": (mapped(real_world(0.5), RescaleSlope="0.5", RescaleIntercept="0"), lambda v: v / 2, ""),
    "both, and they differ": (mapped(real_world(0.5), RescaleSlope="3"), lambda v: v / 2, "Rescale Slope"),
    "several items, counts second": (
        mapped(real_world(0.3, unit="Bq/ml"), real_world(0.5, unit="{counts}")),
        lambda v: v / 2,
        "",
    ),
    "several items of no counts": (
        mapped(real_world(0.3, unit="Bq/ml"), real_world(0.5, unit="%")),
        lambda v: 0.3 * v,
        "Bq/ml",
    ),
    "the same item twice": (mapped(real_world(0.5), real_world(0.5)), lambda v: v / 2, ""),
    "items that contradict": (mapped(real_world(0.5), real_world(0.7)), lambda v: v / 2, "several ways"),
    "pieces": (
        mapped(real_world(1.0, last=299), real_world(2.0, -300.0, first=300)),
        lambda v: np.where(v < 300, v, 2 * v - 300),
        "",
    ),
    "table beyond 64 KiB": (mapped(real_world(table=SQUARES * 10, last=9999)), lambda v: v**2 / 1000, ""),
    "table": (mapped(real_world(table=SQUARES, last=999)), lambda v: v**2 / 1000, ""),
    "modality LUT": (lookup(np.arange(1000) * 3), lambda v: 3 * v, ""),
    "modality LUT as OW": (lookup(np.arange(1000) * 3, raw=True), lambda v: 3 * v, ""),
    "modality LUT from 100 to 599": (
        lookup(np.arange(100, 600), first=100),
        lambda v: v.clip(100, 599),
        "",
    ),
    "unit of the image": (lambda ds: ds.add_new("Units", "CS", "BQML"), lambda v: v, "Bq/ml by its header"),
    "unit of the rescale": (rescale("0.5", "0", "OD"), lambda v: v / 2, "another unit by its header"),
    "counts by name": (lambda ds: ds.add_new("Units", "CS", "CNTS"), lambda v: v, ""),
}


@pytest.mark.parametrize("name", MAPPINGS)
@pytest.mark.filterwarnings("ignore:The value for the data element")
def test_counts_are_what_the_header_maps_values_to(tmp_path, rng, name):
    change, expected, word = MAPPINGS[name]
    values = smooth(rng)
    series, after = written(tmp_path, values, change)
    counts = np.maximum(expected(values), 0)
    np.testing.assert_allclose(series.counts, counts, rtol=1e-6, atol=1e-5)
    notes = " ".join(series.notes)
    assert word in notes if word else notes == ""
    assert agrees(after, 2 * series.counts.astype(float))
    assert "ModalityLUTSequence" not in after
    again = read_series(tmp_path / "out" / "SA_DL-AC.dcm")
    np.testing.assert_allclose(again.counts, 2 * counts, atol=0.51 * again.step)
    # What is in no unit of counts says so again; nothing else is left to say.
    assert bool(again.notes) == ("by its header" in notes)


def test_large_counts_share_one_slope(tmp_path, rng):
    for change in (None, rescale("0.25"), mapped(real_world(1 / 3)), mapped(real_world(2.0), RescaleSlope="1")):
        series, after = written(tmp_path, smooth(rng, 60000), change, factor=5.0)
        slope = after.RealWorldValueMappingSequence[0].RealWorldValueSlope
        assert np.log2(slope / series.step) % 1 == pytest.approx(0, abs=1e-9)
        assert slope > series.step
        assert float(after.RescaleSlope) == pytest.approx(slope, rel=1e-9)
        assert agrees(after, 5 * series.counts.astype(float))


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
@pytest.mark.parametrize("peak", [0.003, 1.0, 900.0, 4e7])
def test_floating_point_counts_use_all_bits(tmp_path, rng, dtype, peak):
    values = smooth(rng) / 900 * peak * rng.uniform(0.9, 1, (12, 32, 32))
    series, after = written(tmp_path, values, None, dtype=dtype)
    assert series.step == 0
    assert after.pixel_array.max() > 32000
    assert agrees(after, 2 * values.astype(np.float32).astype(float))
    assert not {"FloatPixelData", "DoubleFloatPixelData"} & {element.keyword for element in after}


def test_floating_point_values_have_slopes_too(tmp_path, rng):
    values = smooth(rng) + 0.5
    item = real_world(2.0)
    item.DoubleFloatRealWorldValueFirstValueMapped, item.DoubleFloatRealWorldValueLastValueMapped = 0.0, 1e6
    del item["RealWorldValueFirstValueMapped"], item["RealWorldValueLastValueMapped"]
    series, after = written(tmp_path, values, mapped(item), dtype="<f4")
    np.testing.assert_allclose(series.counts, 2 * values, rtol=1e-6)
    assert agrees(after, 4 * values)


def test_other_units_keep_their_ratio(tmp_path, rng):
    change = mapped(real_world(0.5, unit="{counts}"), real_world(0.02, unit="Bq/ml"), real_world(9.0, 1.0, unit="%"))
    _, after = written(tmp_path, smooth(rng, 60000), change, factor=3.0)
    counts, other = after.RealWorldValueMappingSequence
    assert counts.RealWorldValueSlope > 0.5
    assert other.RealWorldValueSlope == pytest.approx(counts.RealWorldValueSlope * 0.02 / 0.5)
    assert other.MeasurementUnitsCodeSequence[0].CodeValue == "Bq/ml"


def test_windows_are_in_rescaled_values(tmp_path, rng):
    def change(ds):
        rescale("0.25")(ds)
        ds.WindowCenter, ds.WindowWidth = "10", "20"

    _, after = written(tmp_path, smooth(rng), change)
    assert float(after.WindowWidth) == pytest.approx(after.pixel_array.max() * 0.25)


UNUSABLE = {
    "zero slope": (rescale("0"), "a slope other than zero"),
    "zero real world slope": (mapped(real_world(0.0)), "a slope other than zero"),
    "negative slope": (rescale("-1"), "only zeros and less"),
    "no number": (mapped(real_world(np.nan)), "one finite number in RealWorldValueSlope"),
    "several slopes": (rescale(["1", "2"]), "one finite number in RescaleSlope"),
    "far below zero": (rescale("1", "-800"), "counts of at least zero"),
    "table without some values": (mapped(real_world(table=SQUARES[:500], last=499)), "that its table lacks"),
    "table of another size": (mapped(real_world(table=SQUARES[:400], last=999)), "found another size"),
    "pieces with a gap": (mapped(real_world(1.0, last=99), real_world(2.0, first=300)), "that its table lacks"),
    "short modality LUT": (
        lambda ds: (lookup(range(1000))(ds), ds.ModalityLUTSequence[0].add_new("LUTData", "US", [1, 2])),
        "a Modality LUT of 1000 entries",
    ),
    "both rescales": (lambda ds: (lookup(range(1000))(ds), rescale("2")(ds)), "a Rescale Slope or a Modality LUT"),
    "slopes of each frame": (
        lambda ds: setattr(ds, "PerFrameFunctionalGroupsSequence", [grouped(real_world(1.0))]),
        "one mapping of stored values for all frames",
    ),
    "white for zero": (lambda ds: setattr(ds, "PhotometricInterpretation", "MONOCHROME1"), "MONOCHROME2"),
}


def grouped(item):
    group = Dataset()
    group.RealWorldValueMappingSequence = [item]
    return group


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_mapping_that_cannot_be_used(tmp_path, rng, name):
    change, word = UNUSABLE[name]
    with pytest.raises(InputError, match=word):
        series_of(tmp_path, smooth(rng), change)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("name", ["none", "rescale", "real world", "table", "several items, counts second"])
def test_what_is_written_is_valid(tmp_path, rng, name):
    written(tmp_path, smooth(rng, 990), MAPPINGS[name][0], factor=200.0)
    result = subprocess.run(["dciodvfy", tmp_path / "out" / "SA_DL-AC.dcm"], capture_output=True, text=True)
    assert "Error" not in result.stdout + result.stderr
