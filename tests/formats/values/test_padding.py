"""Padding is no signal on the way in and the same padding on the way out; what lies below zero is judged."""

import shutil
import subprocess

import numpy as np
import pytest
from fake_study import Times, edit, heart, write_nc
from fake_values import by_rule, read, smooth, write_values
from pydicom.uid import ImplicitVRLittleEndian, RLELossless

from spectac_fast import read_study, write_corrected
from spectac_fast.correct import correct_study
from spectac_fast.data.geometry.field import field_of
from spectac_fast.data.geometry.margin import continued
from spectac_fast.errors import InputError
from spectac_fast.formats.background import without_background
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.series import Told
from spectac_fast.formats.volumes import read_volume

needs_validator = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")


def outside(shape):
    """Voxels outside the circle that fits the slices."""
    y, x = np.mgrid[: shape[1], : shape[2]]
    radius = min(shape[1:]) / 2
    circle = (y - shape[1] / 2 + 0.5) ** 2 + (x - shape[2] / 2 + 0.5) ** 2 <= radius**2
    return np.broadcast_to(~circle, shape)


def corrected(path, out, factor=2.0):
    """The series in a file, and the object that is derived from it with `factor` times its counts."""
    study = read_study(path)
    (counts,) = correct_study(study, Times(factor))
    (written,) = write_corrected(study, [counts], out)
    return study.series[0], written


# What the header says (VR and value, VR and limit), how the values are stored and what padded voxels hold.
DECLARED = {
    "signed": ("<i2", {}, [-32768], ("SS", -32768), None),
    "signed, small": ("<i2", {}, [-1], ("SS", -1), None),
    "signed, as US": ("<i2", {}, [-32768], ("US", 32768), None),
    "signed, as DS": ("<i2", {}, [-100], ("DS", "-100"), None),
    "unsigned": ("<u2", {}, [65535], ("US", 65535), None),
    "unsigned, as SS": ("<u2", {}, [65535], ("SS", -1), None),
    "zero": ("<u2", {}, [0], ("US", 0), None),
    "among counts": ("<u2", {}, [100], ("US", 100), None),
    "a range below": ("<i2", {}, [-32768, -32000, -31500], ("SS", -32768), ("SS", -31000)),
    "a range, other end first": ("<i2", {}, [-32768, -32000, -31500], ("SS", -31000), ("SS", -32768)),
    "a range as US": ("<i2", {}, [-32768, -32000, -31500], ("US", 32768), ("US", 34536)),
    "a range above": ("<u2", {}, [65535, 65000, 64999], ("US", 65535), ("US", 64000)),
    "above 12 bits": ("<u2", {"stored": 12}, [63536], ("SS", -2000), None),
    "12 signed bits": ("<i2", {"stored": 12}, [-2000], ("SS", -2000), None),
    "8 bits": ("<u1", {}, [255], ("US", 255), None),
    "8 signed bits": ("<i1", {}, [-128], ("SS", -128), None),
    "32 bits": ("<i4", {}, [-(2**31)], ("SL", -(2**31)), None),
    "floating point": ("<f4", {}, [-5.0], ("FL", -5.0), None),
    "far off": ("<f8", {}, [-1e30], ("FD", -1e30), None),
    "NaN": ("<f4", {}, [np.nan], ("FL", np.nan), None),
}
FLOATS = {"<f4": "Float", "<f8": "DoubleFloat"}


@pytest.mark.parametrize("packed", ["", "RLE", "implicit"])
@pytest.mark.parametrize("name", DECLARED)
def test_declared_padding(tmp_path, rng, name, packed):
    dtype, storage, padding, value, limit = DECLARED[name]
    if packed and (dtype == "<i4" or (packed == "RLE" and dtype[1] == "f")):
        pytest.skip("run lengths are of integers of 16 bits at most")
    if packed == "implicit" and value[0] == "DS":
        pytest.skip("such a file does not tell text from numbers")
    values = smooth(rng, 120 if dtype[2] == "1" else 900) + 3.0
    if padding == [100]:
        values[values == 100] += 1
    truth, away = values.copy(), outside(values.shape)
    values[away] = rng.choice(padding, int(away.sum()))
    truth[away] = 0

    def change(ds):
        ds.add_new(f"{FLOATS.get(dtype, '')}PixelPaddingValue", *value)
        if limit:
            ds.add_new("PixelPaddingRangeLimit", *limit)
        if packed == "RLE":
            ds.compress(RLELossless, generate_instance_uid=False)

    path = write_values(tmp_path / "SA.dcm", values, change, dtype=dtype, **storage)
    if packed == "implicit":
        ds = read(path)
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds.save_as(path, implicit_vr=True, little_endian=True)
    series, written = corrected(path, tmp_path / "out")
    np.testing.assert_array_equal(series.counts, truth)
    assert ("lies among its values" in " ".join(series.notes)) == (padding == [100])

    after = read(written)
    step = after.RealWorldValueMappingSequence[0].RealWorldValueSlope
    for rule in ("real world", "rescale"):
        # A count that would look like padding is one step off.
        assert np.abs(by_rule(after, rule) - 2 * truth).max() <= step * (1.5 if padding == [100] else 0.5)
    representable = np.isfinite(padding).all() and min(padding) >= -32768
    pixels = after.pixel_array.astype(np.float64)
    np.testing.assert_array_equal(pixels[away], (values if representable else truth)[away])
    again = read_series(written, force=True)
    np.testing.assert_array_equal(np.isnan(again.padding), ~away)
    assert not again.counts[away].any()
    assert int(after.LargestImagePixelValue) == pixels[~away].max()


@needs_validator
@pytest.mark.parametrize("name", ["signed", "unsigned", "a range below", "zero", "NaN"])
def test_objects_with_padding_are_valid(tmp_path, rng, name):
    dtype, storage, padding, value, limit = DECLARED[name]
    values = smooth(rng, 30000)
    values[outside(values.shape)] = padding[0]

    def change(ds):
        ds.add_new(f"{FLOATS.get(dtype, '')}PixelPaddingValue", *value)
        if limit:
            ds.add_new("PixelPaddingRangeLimit", *limit)

    _, written = corrected(write_values(tmp_path / "SA.dcm", values, change, dtype=dtype, **storage), tmp_path / "out")
    result = subprocess.run(["dciodvfy", written], capture_output=True, text=True)
    assert "Error" not in result.stdout + result.stderr


def test_large_counts_keep_clear_of_padding(tmp_path, rng):
    for value, dtype in ((-32768, "<i2"), (65535, "<u2"), (20000, "<u2")):
        values = smooth(rng, 19000)
        truth, away = values * 9, outside(values.shape)
        truth[away], values[away] = 0, value
        path = write_values(
            tmp_path / "SA.dcm",
            values,
            lambda ds, value=value: ds.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value),
            dtype=dtype,
        )
        after = read(corrected(path, tmp_path / "out", factor=9.0)[1])
        slope = float(after.RescaleSlope)
        assert slope == after.RealWorldValueMappingSequence[0].RealWorldValueSlope
        assert slope > 1
        assert np.abs(by_rule(after, "rescale") - truth).max() <= slope / 2 * (1 + 1e-6)
        assert (after.pixel_array == value).sum() == away.sum()


def test_padding_that_fills_whole_slices_or_all(tmp_path, rng):
    values = smooth(rng)
    values[:2] = -7
    path = write_values(tmp_path / "SA.dcm", values, lambda ds: ds.add_new("PixelPaddingValue", "SS", -7), dtype="<i2")
    series, written = corrected(path, tmp_path / "out")
    assert not series.counts[:2].any()
    assert (read(written).pixel_array[:2] == -7).all()
    write_values(path, values * 0 - 7, lambda ds: ds.add_new("PixelPaddingValue", "SS", -7), dtype="<i2")
    with pytest.raises(InputError, match="found only zeros"):
        read_study(path)


def test_frames_in_another_order_keep_their_padding(tmp_path, rng):
    values, order = smooth(rng), rng.permutation(12)
    values[3, :5] = -9
    path = tmp_path / "SA.dcm"

    def change(ds):
        ds.add_new("PixelPaddingValue", "SS", -9)
        ds.SliceVector = [int(k) + 1 for k in order]

    write_values(path, values[order], change, dtype="<i2")
    series, written = corrected(path, tmp_path / "out")
    np.testing.assert_array_equal(series.counts, np.maximum(values, 0))
    np.testing.assert_array_equal(read(written).pixel_array, np.where(values < 0, -9, 2 * values)[order])


@pytest.mark.parametrize(
    ("value", "dtype"), [(-32768, "<i2"), (-1, "<i2"), (65535, "<u2"), (255, "<u1"), (-1e6, "<f4")]
)
def test_a_constant_outside_that_no_header_names(tmp_path, rng, value, dtype):
    values = smooth(rng, 100)
    away = outside(values.shape)
    truth = np.where(away, 0, values)
    values[away] = value
    series, written = corrected(write_values(tmp_path / "SA.dcm", values, None, dtype=dtype), tmp_path / "out")
    np.testing.assert_array_equal(series.counts, truth)
    assert f"hold {value:g}, which no header names as padding" in " ".join(series.notes)
    after = read(written)
    assert after.PixelRepresentation == 0
    assert "PixelPaddingValue" not in after
    assert not after.pixel_array[away].any()
    assert np.abs(by_rule(after, "real world") - 2 * truth).max() <= float(after.get("RescaleSlope", 1)) / 2


@pytest.mark.parametrize("dtype", ["<i2", "<f4"])
def test_lobes_below_zero_are_no_counts(tmp_path, rng, dtype):
    values = smooth(rng, 900)
    values[values < 30] -= rng.integers(0, 40, int((values < 30).sum()))
    series = read_series(write_values(tmp_path / "SA.dcm", values, None, dtype=dtype))
    np.testing.assert_array_equal(series.counts, np.maximum(values, 0))
    assert f"of the values lie below zero, down to {values.min():g} at {values.max():g} on top" in series.notes[0]
    assert series.padding is None


def test_depths_below_zero_are_refused(tmp_path, rng):
    values = smooth(rng, 900)
    values[4:6, 8:12, 8:12] = -600
    with pytest.raises(InputError, match="found -600 to"):
        read_series(write_values(tmp_path / "SA.dcm", values, None, dtype="<i2"))


def test_hot_corners_are_no_padding(tmp_path, rng):
    values = smooth(rng, 900)
    values[:, :8, :8] = np.rint(5000 * np.exp(-0.1 * np.add.outer(np.arange(8), np.arange(8))))
    series = read_series(write_values(tmp_path / "SA.dcm", values, None))
    np.testing.assert_array_equal(series.counts, values)
    assert series.notes == ()


def test_volumes_are_judged_alike(tmp_path, rng):
    values = smooth(rng)
    away = outside(values.shape)
    truth = np.where(away, 0, values).astype(np.float32)
    values[away] = -1024
    np.save(tmp_path / "x.npy", values)
    told = Told("SA", "rest", 6.8, 6.8)
    series = read_volume(tmp_path / "x.npy", (tmp_path / "x.npy").read_bytes(), told)
    np.testing.assert_array_equal(series.counts, truth)
    np.testing.assert_array_equal(np.isnan(series.padding), ~away)
    assert "no header names" in series.notes[0]
    np.save(tmp_path / "x.npy", values - 3000)
    with pytest.raises(InputError, match="only zeros and less"):
        read_volume(tmp_path / "x.npy", (tmp_path / "x.npy").read_bytes(), told)


def test_a_network_sees_counts_that_go_on(tmp_path, rng):
    values = smooth(rng, 900) + 50
    values[:, :, :6] = -1
    path = write_values(tmp_path / "SA.dcm", values, lambda ds: ds.add_new("PixelPaddingValue", "SS", -1), dtype="<i2")
    series = read_series(path)
    counts = continued(series, field_of(series))
    np.testing.assert_array_equal(counts[:, :, 6:], series.counts[:, :, 6:])
    # 6.8 mm pixels and a fall by e in 13.6 mm; the nearest known voxel is the seventh of the same row.
    fall = np.exp(-0.5 * np.arange(6, 0, -1))
    np.testing.assert_allclose(counts[:, :, :6], series.counts[:, :, 6:7] * fall, rtol=1e-5)
    seen = []

    class Sees(Times):
        def translate(self, nc, **given):
            seen.append(nc.clone())
            return super().translate(nc, **given)

    (after,) = correct_study(read_study(path), Sees(3.0))
    assert (seen[0][:, 0, :, :6] > -1).all()
    assert not after[:, :, :6].any()
    np.testing.assert_allclose(after[:, :, 6:], 3 * series.counts[:, :, 6:], rtol=1e-4)


def test_counts_without_background_are_unchanged(fresh):
    counts = fresh.poisson(fresh.uniform(0.1, 50), (4, 9, 9)).astype(np.float32) + 1
    found, silent, notes = without_background("x", counts.copy())
    np.testing.assert_array_equal(found, counts)
    assert (silent, notes) == (None, ())


def test_padding_reaches_no_count_scale(tmp_path, rng):
    counts = heart(rng)
    write_nc(tmp_path / "plain.dcm", counts)
    write_nc(tmp_path / "padded.dcm", counts)

    def change(ds):
        values = counts.astype("<u2")
        values[:, :3] = 65535
        ds.PixelData = values.tobytes()
        ds.add_new("PixelPaddingValue", "US", 65535)

    edit(tmp_path / "padded.dcm", change)
    plain, padded = (correct_study(read_study(tmp_path / f"{name}.dcm"), Times(1.5))[0] for name in ("plain", "padded"))
    np.testing.assert_allclose(padded[:, 3:], plain[:, 3:], rtol=1e-5)
    assert not padded[:, :3].any()
