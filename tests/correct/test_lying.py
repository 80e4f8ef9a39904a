"""Files that lie in every way, with headers that say so, say nothing or say it wrongly: the counts of the plain study,
in the geometry of the file, and a sentence where something was assumed.
"""

from functools import partial

import numpy as np
import pydicom
import pytest
from fake_study import Times
from pydicom.dataset import Dataset
from restored import (
    change_sign,
    place,
    restore,
    reverse,
    rewritten,
    steps_of,
    to_functional_groups,
    to_second_item,
    to_top_level,
    with_camera_axes,
    without_orientation,
)

from spectac_fast.correct import Corrector, correct_files
from spectac_fast.data import demo
from spectac_fast.formats.orientation import Turn
from spectac_fast.terms import PLANES

FRAMES, ROWS, COLUMNS = (Turn(flips=tuple(k == axis for k in range(3))) for axis in range(3))
QUARTER = Turn((0, 2, 1), (False, True, False))
GEOMETRY = ("DetectorInformationSequence", "PixelSpacing", "SliceVector", "NumberOfFrames", "Rows", "Columns")


class Lopsided(Times):
    """Its answer depends on where in a slice, and before or behind which slice, a count lies."""

    context_mm = (-6.8, 6.8)

    def translate(self, nc, seeds=None, neighbours=None, **options):
        super().translate(nc, seeds, neighbours, **options)
        return nc + nc.flip(-1) / 4 + nc.roll(1, -2) / 8 + neighbours[:, :1] / 16


def moved_to(ds, position):
    ds.DetectorInformationSequence[0].ImagePositionPatient = position


def other_item_first(ds):
    """A camera head's direction in front, as systems leave it that keep the projections' items."""
    head, heart = Dataset(), ds.DetectorInformationSequence[0]
    head.ImageOrientationPatient, head.ImagePositionPatient = [0, 1, 0, 0, 0, -1], [245, 0, 0]
    head.ViewCodeSequence = heart.ViewCodeSequence
    ds.DetectorInformationSequence = [head, heart]


def head_is_feet(ds):
    """Every plane upside down in the patient, headers as before."""
    reverse(ds, 0 if "HLA" in ds.SeriesDescription else 1)


def rotated(ds, signs):
    """A header whose patient lies another way: turned by 180 degrees about one of the patient's axes."""
    first, steps = steps_of(ds)
    place(ds, first * signs, steps * signs)


def without(ds, *keywords):
    for keyword in keywords:
        del ds[keyword]


def reversed_vector(ds):
    """Frames in reverse that the Slice Vector puts in order again."""
    reverse(ds, 0)
    ds.SliceVector = list(range(int(ds.NumberOfFrames), 0, -1))


def end_first(ds):
    """Frames in reverse from the right position, but with the sign of before."""
    restore(ds, FRAMES)
    change_sign(ds)


def in_place(ds):
    """Frames in reverse with the right sign, but the position of before."""
    first, _ = steps_of(ds)
    restore(ds, FRAMES)
    place(ds, first, steps_of(ds)[1])


def sign_kept(way):
    def change(ds):
        sign = ds.SpacingBetweenSlices
        restore(ds, way)
        ds.SpacingBetweenSlices = sign

    return change


# What is done to every file, and a word of the sentence that is due; none where the header says all of it rightly.
KINDS = {
    "frames in reverse, right sign": (lambda ds: restore(ds, FRAMES), ""),
    "frames in reverse by the slice vector": (reversed_vector, ""),
    "mirrored, right sign": (lambda ds: restore(ds, COLUMNS), ""),
    "upside down, right sign": (lambda ds: restore(ds, ROWS), ""),
    "turned by a quarter": (lambda ds: restore(ds, QUARTER), ""),
    "left-handed in all axes": (lambda ds: restore(ds, Turn((0, 2, 1), (True, True, True))), ""),
    "second item": (to_second_item, ""),
    "top level": (to_top_level, ""),
    "functional groups": (to_functional_groups, ""),
    "a head's item first": (other_item_first, "direction cosines differ"),
    "mirrored, old sign": (sign_kept(COLUMNS), "direction of its frames"),
    "upside down, old sign": (sign_kept(ROWS), "direction of its frames"),
    "turned by a quarter, old sign": (sign_kept(QUARTER), ""),
    "turned and mirrored, old sign": (sign_kept(Turn((0, 2, 1))), "direction of its frames"),
    "frames in reverse, old sign": (end_first, "direction of its frames"),
    "frames in reverse, old position": (in_place, "its position"),
    "frames in reverse, old header": (lambda ds: reverse(ds, 0), "direction of its frames"),
    "turned by half a turn, old header": (lambda ds: (reverse(ds, 1), reverse(ds, 2)), "the way round of its slices"),
    "wrong sign": (change_sign, "direction of its frames"),
    "feet taken for head": (lambda ds: rotated(ds, [-1, 1, -1]), "its image contradicts its direction cosines"),
    "prone taken for supine": (lambda ds: rotated(ds, [-1, -1, 1]), "its image contradicts its direction cosines"),
    "both": (lambda ds: rotated(ds, [1, -1, -1]), "its image contradicts its direction cosines"),
    "one position for all": (lambda ds: moved_to(ds, [0, 0, 0]), "its position"),
    "no position": (lambda ds: moved_to(ds, None), "ImagePositionPatient is missing"),
    "no orientation": (without_orientation, "ImageOrientationPatient is missing"),
    "zeros for orientation": (
        lambda ds: setattr(ds.DetectorInformationSequence[0], "ImageOrientationPatient", [0] * 6),
        "ImageOrientationPatient is missing",
    ),
    "no item": (lambda ds: without(ds, "DetectorInformationSequence"), "ImageOrientationPatient is missing"),
    "no orientation, frames in reverse": (
        lambda ds: (reverse(ds, 0), change_sign(ds), without_orientation(ds)),
        "by the sign of SpacingBetweenSlices",
    ),
    "no orientation, upside down": (lambda ds: (reverse(ds, 1), without_orientation(ds)), "its image shows rows"),
    "no orientation, mirrored": (lambda ds: (reverse(ds, 2), without_orientation(ds)), "its image shows columns"),
    "no orientation, wrong sign": (lambda ds: (change_sign(ds), without_orientation(ds)), "its image shows frames"),
    "camera's axes": (with_camera_axes, "not those of a heart"),
    "no spacing": (lambda ds: without(ds, "SpacingBetweenSlices"), "frames are taken to lie SliceThickness, 6.8 mm"),
    "no spacing, mirrored": (
        lambda ds: (restore(ds, COLUMNS), without(ds, "SpacingBetweenSlices")),
        "direction of its frames",
    ),
    "no spacing, no orientation": (
        lambda ds: (without(ds, "SpacingBetweenSlices"), without_orientation(ds)),
        "ImageOrientationPatient is missing",
    ),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The demo study at stress, and what becomes of it."""
    folder = tmp_path_factory.mktemp("plain")
    demo.unpack(folder / "all")
    for plane in PLANES:
        rewritten(folder / "all" / f"stress_{plane}_NC.dcm", folder / "in" / f"stress_{plane}_NC.dcm")
    (result,) = Corrector(Lopsided(1.5)).map([folder / "in"])
    assert result.warnings == ()
    return folder / "in", dict(zip((series.plane for series in result.study.series), result.counts))


def unlike(counts, expected):
    """Root mean square difference over that of what is expected."""
    return float(np.sqrt(np.mean((counts - expected) ** 2) / np.mean(expected**2)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_study_that_lies_otherwise_is_corrected_alike(tmp_path, plain, kind):
    change, word = KINDS[kind]
    folder, expected = plain
    for path in sorted(folder.iterdir()):
        rewritten(path, tmp_path / path.name, change)
    (result,) = Corrector(Lopsided(1.5)).map([tmp_path])
    assert result.failed == ()
    for series, counts, partners in zip(result.study.series, result.counts, result.partners):
        # Positions and directions are written with few digits.
        assert unlike(counts, expected[series.plane]) < 1e-3
        assert len(partners) == 2
    if word:
        said = [text for text in result.warnings if word in text]
        # Where positions contradict each other, one of them is believed.
        assert len(said) == (2 if word == "its position" else 3), result.warnings
        assert all(text.startswith(f"{tmp_path}") and text.endswith(".") for text in result.warnings)
    else:
        assert result.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_written_as_it_lay(tmp_path, plain, kind):
    change, _ = KINDS[kind]
    folder, _ = plain
    for path in sorted(folder.iterdir()):
        rewritten(path, tmp_path / "in" / path.name, change)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert len(report.written) == 3
    for path in report.written:
        before, after = pydicom.dcmread(tmp_path / "in" / path.name.replace("_DL-AC", "")), pydicom.dcmread(path)
        np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
        # What the standard requires and the source lacks stands there without a value, a frame of reference with one.
        after, before = without_empty(after), without_empty(before)
        for keyword in (*GEOMETRY, "SpacingBetweenSlices", "SliceThickness", "FrameOfReferenceUID"):
            if keyword != "FrameOfReferenceUID" or keyword in before:
                assert after.get(keyword) == before.get(keyword), keyword


def without_empty(ds):
    """A dataset as it is, without the elements that have no value."""
    told = Dataset()
    for element in ds:
        if element.VR == "SQ":
            told.add_new(element.tag, "SQ", [without_empty(item) for item in element.value])
        elif not element.is_empty:
            told.add(element)
    return told


@pytest.mark.parametrize("plane", PLANES)
def test_one_plane_that_contradicts_its_header_is_read_as_the_others_prove(tmp_path, plain, plane):
    folder, expected = plain
    for path in sorted(folder.iterdir()):
        rewritten(
            path,
            tmp_path / path.name,
            (lambda ds: reverse(ds, 2)) if plane in path.name.split("_") else lambda ds: None,
        )
    (result,) = Corrector(Lopsided(1.5)).map([tmp_path])
    (said,) = result.warnings
    assert f"_{plane}_" in said
    assert "the way round of its slices" in said
    for series, counts in zip(result.study.series, result.counts):
        assert unlike(counts, expected[series.plane]) < 1e-3


@pytest.mark.parametrize("plane", PLANES)
def test_a_lone_stack_has_its_image(tmp_path, plain, plane):
    folder, _ = plain
    source = folder / f"stress_{plane}_NC.dcm"
    (expected,) = (result.counts[0] for result in Corrector(Lopsided(1.5)).map([source]))
    for name, axis, followed in (("frames", 0, True), ("rows", 1, False), ("columns", 2, False)):
        path = rewritten(source, tmp_path / f"{name}.dcm", partial(reverse, axis=axis))
        (result,) = Corrector(Lopsided(1.5)).map([path])
        (said,) = result.warnings
        if followed:
            assert "its image shows frames" in said
            assert unlike(result.counts[0], expected) < 1e-6
        else:
            # A header that says which way round slices are is believed, and the contradiction told.
            assert "its image contradicts its header" in said


# What is said where rows and columns are turned over.
LOOKS = {"SA": ("liver", "exchanged"), "VLA": ("liver", "open"), "HLA": ("open", "exchanged")}


@pytest.mark.parametrize("plane", PLANES)
def test_a_contradiction_is_told_in_words_of_anatomy(tmp_path, plain, plane):
    folder, _ = plain
    for axis, word in enumerate(LOOKS[plane], 1):
        path = rewritten(folder / f"stress_{plane}_NC.dcm", tmp_path / f"{axis}.dcm", partial(reverse, axis=axis))
        (result,) = Corrector(Times()).map([path])
        assert word in result.warnings[0]
