"""Which bits are the value: mended where the header proves what was meant, else refused, never wrong in silence."""

import numpy as np
import pydicom
import pytest
from fake_values import LIMITS, smooth, write_values
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.dicom.values.words import Field

PEAKS = {"<u1": 255, "<i1": 127, "<u2": 65535, "<i2": 32767}


def counts_and_notes(tmp_path, values, change=None, **storage):
    series = read_series(write_values(tmp_path / "SA.dcm", values, change, **storage))
    return series.counts, " ".join(series.notes)


def largest(value, vr="US"):
    return lambda ds: ds.add_new(LIMITS[1], vr, value)


@pytest.mark.parametrize("seed", range(20))
def test_a_field_is_what_python_makes_of_its_bits(fresh, seed):
    width = int(fresh.choice([8, 16, 32]))
    bits = int(fresh.integers(1, width + 1))
    field = Field(int(fresh.integers(0, width - bits + 1)), bits, bool(fresh.integers(2)))
    words = fresh.integers(0, 2**width, 50, dtype=np.uint64).astype(f"<u{width // 8}")
    expected = [int(word) >> field.low & (1 << bits) - 1 for word in words]
    if field.signed:
        expected = [value - (1 << bits) if value >> bits - 1 else value for value in expected]
    assert field.of(words).tolist() == expected


@pytest.mark.parametrize(
    ("dtype", "peak", "packed"),
    [
        *((dtype, peak, packed) for dtype, peak in PEAKS.items() for packed in (False, True)),
        *(("<u4", 3e6, False), ("<i4", 3e6, False)),
    ],
)
def test_every_width_and_sign(tmp_path, rng, dtype, peak, packed):
    values = smooth(rng, peak)

    def change(ds):
        if packed:
            ds.compress(RLELossless, generate_instance_uid=False)

    counts, notes = counts_and_notes(tmp_path, values, change, dtype=dtype)
    np.testing.assert_array_equal(counts, values)
    assert notes == ""


@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_floating_point_pixels(tmp_path, rng, dtype):
    values = smooth(rng, 0.0123)[:, :-1] + rng.uniform(0, 1, (12, 31, 32))
    counts, notes = counts_and_notes(tmp_path, values, dtype=dtype)
    np.testing.assert_array_equal(counts, values.astype(np.float32))
    assert notes == ""


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_floating_point_pixels_that_are_not_finite(tmp_path, rng, bad):
    values = smooth(rng)
    values[3, 9, 9] = bad
    with pytest.raises(InputError, match="expected finite counts, found NaN or infinity"):
        counts_and_notes(tmp_path, values, dtype="<f4")


def test_two_kinds_of_pixels_at_once(tmp_path, rng):
    values = smooth(rng)
    with pytest.raises(InputError, match="found PixelData and FloatPixelData"):
        counts_and_notes(tmp_path, values, lambda ds: ds.add_new("FloatPixelData", "OF", bytes(8)))


@pytest.mark.parametrize("evidence", [("US", 50000), ("SS", -15536)])
@pytest.mark.parametrize("keyword", LIMITS)
def test_a_wrapped_sign_is_mended_where_the_header_proves_it(tmp_path, rng, keyword, evidence):
    values, value = smooth(rng, 50000), evidence if keyword == LIMITS[1] else ("US", 0)
    counts, notes = counts_and_notes(tmp_path, values, lambda ds: ds.add_new(keyword, *value), signed=True)
    np.testing.assert_array_equal(counts, values)
    assert f"{keyword} {value[1]} shows that they are unsigned, of 16 bits" in notes


@pytest.mark.parametrize("peak", [50000, 33000, 65535])
@pytest.mark.parametrize("stale", [None, 32767, 900])
def test_a_wrapped_sign_is_refused_where_nothing_proves_it(tmp_path, rng, peak, stale):
    with pytest.raises(InputError, match="found"):
        counts_and_notes(tmp_path, smooth(rng, peak), largest(stale) if stale else None, signed=True)


def test_a_wrapped_sign_of_8_bits(tmp_path, rng):
    values = smooth(rng, 200)
    with pytest.raises(InputError, match="found"):
        counts_and_notes(tmp_path, values, dtype="<u1", signed=True)
    np.testing.assert_array_equal(counts_and_notes(tmp_path, values, largest(200), dtype="<u1", signed=True)[0], values)


def test_counts_that_were_too_large_are_refused(tmp_path, rng):
    for peak, dtype in ((70000, "<u2"), (280, "<u1")):
        with pytest.raises(InputError, match="counts look that were too large"):
            counts_and_notes(tmp_path, smooth(rng, peak) % 2 ** (8 * np.dtype(dtype).itemsize), dtype=dtype)


@pytest.mark.parametrize(("dtype", "largest"), [("<u2", 65535), ("<i2", 32767), ("<u1", 255)])
def test_counts_that_were_cut_off_are_said(tmp_path, rng, dtype, largest):
    values = np.minimum(smooth(rng, 1.5 * largest), largest)
    counts, notes = counts_and_notes(tmp_path, values, dtype=dtype)
    np.testing.assert_array_equal(counts, values)
    assert (
        f"{(values == largest).sum()} values are {largest}, the largest that {8 * np.dtype(dtype).itemsize} bits hold"
        in notes
    )


def test_too_few_bits_stored(tmp_path, rng):
    values = smooth(rng, 30000)
    counts, notes = counts_and_notes(tmp_path, values, largest(30000), stored=12)
    np.testing.assert_array_equal(counts, values)
    assert "BitsStored 12, HighBit 11 and PixelRepresentation 0; LargestImagePixelValue 30000 shows" in notes
    for change in (None, largest(29000), largest(4000)):
        with pytest.raises(InputError, match="no LargestImagePixelValue that shows what was meant"):
            counts_and_notes(tmp_path, values, change, stored=12)


def test_an_overlay_above_the_values_is_left_out(tmp_path, rng):
    values = smooth(rng, 4000).astype(int)
    overlay = np.zeros_like(values)
    overlay[:, 4:9, 4:28:2] = 0x8000
    counts, notes = counts_and_notes(tmp_path, values | overlay, stored=12)
    np.testing.assert_array_equal(counts, values)
    assert "bits above BitsStored 12 are in use" in notes
    counts, notes = counts_and_notes(tmp_path, values | overlay, largest(4000), stored=12)
    np.testing.assert_array_equal(counts, values)
    assert notes == ""


def test_an_overlay_that_the_header_names_needs_no_word(tmp_path, rng):
    values = smooth(rng, 1000).astype(int)
    words = values.copy()
    words[:, 4:20, 4:28] |= 0x1000

    def named(ds, bit=12):
        ds.add_new(0x60000010, "US", 32)
        ds.add_new(0x60000011, "US", 32)
        ds.add_new(0x60000100, "US", 16)
        ds.add_new(0x60000102, "US", bit)

    counts, notes = counts_and_notes(tmp_path, words, named, stored=10)
    np.testing.assert_array_equal(counts, values)
    assert notes == ""
    _, notes = counts_and_notes(tmp_path, words, lambda ds: named(ds, 13), stored=10)
    assert "bits above BitsStored 10 are in use" in notes


def test_values_from_the_highest_bit_down(tmp_path, rng):
    values = smooth(rng, 4000)
    counts, notes = counts_and_notes(tmp_path, values * 16, stored=12, high=15)
    np.testing.assert_array_equal(counts, values)
    assert "HighBit 15 with BitsStored 12: the values are taken from the upper 12 bits" in notes
    counts, notes = counts_and_notes(tmp_path, values, stored=12, high=15)
    np.testing.assert_array_equal(counts, values)
    assert "from the lower 12 bits" in notes


def test_a_high_bit_that_fits_nothing(tmp_path, rng):
    values = smooth(rng, 60000)
    for high, stored in ((15, 12), (11, 16), (7, 16)):
        with pytest.raises(InputError, match=f"HighBit {high} and"):
            counts_and_notes(tmp_path, values, stored=stored, high=high)
        counts, notes = counts_and_notes(tmp_path, values, largest(60000), stored=stored, high=high)
        np.testing.assert_array_equal(counts, values)
        assert notes == "" if stored == 16 else "shows that they are unsigned, of 16 bits" in notes


def test_values_below_zero_in_unsigned_words(tmp_path, rng):
    values = smooth(rng, 900)
    values[values < 30] = rng.integers(-50, 0, int((values < 30).sum()))
    with pytest.raises(InputError, match="as values below zero look"):
        counts_and_notes(tmp_path, values % 65536, dtype="<u2")
    counts, notes = counts_and_notes(tmp_path, values % 65536, lambda ds: ds.add_new(LIMITS[0], "SS", -50), dtype="<u2")
    np.testing.assert_array_equal(counts, np.maximum(values, 0))
    assert "SmallestImagePixelValue -50 shows that they are signed" in notes
    assert "lie below zero, down to -50" in notes


@pytest.mark.parametrize("packed", [False, True])
def test_frames_that_the_header_does_not_count(tmp_path, rng, packed):
    def change(ds):
        if packed:
            ds.compress(RLELossless, generate_instance_uid=False)
        ds.NumberOfFrames, ds.SliceVector = 7, list(range(1, 8))

    with pytest.raises(InputError, match="found 7 frames of 12 slices"):
        counts_and_notes(tmp_path, smooth(rng), change)


def test_big_endian_stays_refused(tmp_path, rng):
    path = write_values(tmp_path / "SA.dcm", smooth(rng), None)
    ds = pydicom.dcmread(path)
    ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
    ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(path, ds, implicit_vr=False, little_endian=False, force_encoding=True)
    with pytest.raises(InputError, match="little-endian pixels, uncompressed or RLE, found Explicit VR Big Endian"):
        read_series(path)
