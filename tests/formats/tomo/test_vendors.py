"""A real acquisition as other cameras would have written it: read as the plain file is, or refused in a sentence."""

import io

import fake_vendors as to
import numpy as np
import pydicom
import pytest
from fake_patient import write_patient

import spectac_fast as sf
from spectac_fast.data import demo
from spectac_fast.errors import SpectacError
from spectac_fast.formats.dicom.tomo.read import read_projections

SCATTER, UPPER = (108, 126, "SCATTER"), (155, 172, "UPPER")
BOTH = ("TimeSlotVector", "RRIntervalVector")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return demo.unpack_patient(tmp_path_factory.mktemp("patient"))


@pytest.fixture(scope="module")
def plain(file):
    return read_projections(file)


def changed(file, *changes):
    ds, stored = pydicom.dcmread(file), io.BytesIO()
    for change in changes:
        change(ds)
    ds.save_as(stored)
    return stored.getvalue()


def start_in_the_detector(ds):
    to.detector_of(ds).StartAngle = to.rotation_of(ds).StartAngle
    del to.rotation_of(ds).StartAngle


def counted_from_the_first(ds):
    """Each detector's Start Angle counts from that of the rotation."""
    to.heads(2, own="beside")(ds)
    first = float(to.detector_of(ds).StartAngle)
    for item in ds.DetectorInformationSequence:
        item.StartAngle = f"{(float(item.StartAngle) - first) % 360:g}"


def feet_first(ds, detector=0):
    """The rows of a detector run from feet to head."""
    views, item = to.pixels(ds).copy(), ds.DetectorInformationSequence[detector]
    of = np.array(ds.DetectorVector) == detector + 1
    views[of] = views[of, ::-1]
    ds.PixelData = views.tobytes()
    item.ImageOrientationPatient = [*item.ImageOrientationPatient[:5], "1"]
    x, y, top = map(float, item.ImagePositionPatient)
    item.ImagePositionPatient = [x, y, f"{top - (ds.Rows - 1) * float(ds.PixelSpacing[0]):.6f}"]


def per_degree(sign):
    return lambda ds: setattr(to.rotation_of(ds), "StartAngle", f"{float(to.rotation_of(ds).StartAngle) + sign:g}")


RIGHT = {
    "2 heads": (to.heads(2),),
    "3 heads": (to.heads(3),),
    "5 heads in order of time": (to.heads(5, interleaved=True),),
    "2 heads, views numbered on": (to.heads(2, numbers="all"),),
    "2 heads, starts in rotation items": (to.heads(2, own="rotation"),),
    "3 heads, starts in rotation items": (to.heads(3, own="rotation"),),
    "2 heads, starts in both": (to.heads(2, own="both"),),
    "2 heads, starts beside the rotation's": (to.heads(2, own="beside"),),
    "2 heads, starts in orientations": (to.heads(2, own="beside"), to.without_starts),
    "2 heads, starts counted from the first": (counted_from_the_first,),
    "2 heads, arc of one": (to.heads(2, arc=90),),
    "2 heads, arc of all": (to.heads(2, arc=180),),
    "2 heads, one feet first": (to.heads(2), lambda ds: feet_first(ds, 1)),
    "2 heads, a rotation of each": (to.heads(2, own="rotation"), to.numbered_by_detector),
    "2 heads, rotation and windows of each": (
        to.windows(SCATTER), to.heads_of_windows(2), to.numbered_by_detector,
    ),
    "2 rotations": (to.rotations(),),
    "2 rotations, back": (to.rotations(back=True),),
    "2 rotations, start in the detector too": (to.rotations(own=True),),
    "2 rotations, back, start in the detector too": (to.rotations(own=True, back=True),),
    "2 rotations of unequal time": (to.rotations(seconds=(1, 2)),),
    "there and back": (to.there_and_back,),
    "gates": (to.gates(8),),
    "gates with one interval": (to.gates(8, vectors=BOTH),),
    "gates of two intervals": (to.gates(4, vectors=BOTH, intervals=2),),
    "gates in a TOMO": (to.gates(8, kind="TOMO"),),
    "scatter window first": (to.windows(SCATTER, peak=1),),
    "three windows": (to.windows(SCATTER, UPPER, peak=1),),
    "windows view by view": (to.windows(SCATTER, by_window=False),),
    "windows, frames of all in a rotation": (to.windows(SCATTER, UPPER, promised=3),),
    "a wide window about the peak": (to.windows((100, 180, "Tc99m")),),
    "half of the peak as a window": (to.windows((140, 155, "Tc99m"), peak=1),),
    "windows of one name": (to.windows((108, 126, "Tc99m"), (155, 172, "Tc99m"), peak=2),),
    "the second window alone": (to.only_window(2, SCATTER, None),),
    "vectors from 0": (lambda ds: [setattr(ds, name, [n - 1 for n in ds.get(name)]) for name in to.VECTORS],),
    "no vectors": (lambda ds: [delattr(ds, name) for name in to.VECTORS],),
    "a whole turn on": (per_degree(360),),
    "below 0": (per_degree(-360),),
    "a step below 0 clockwise": (to.set_in("rotation", AngularStep="-6"),),
    "no step": (to.set_in("rotation", AngularStep=None),),
    "arc of each of two heads put together": (to.set_in("rotation", ScanArc="90"),),
    "start in the detector": (start_in_the_detector,),
    "0 in the detector": (to.set_in("detector", StartAngle="0"),),
    "feet first": (feet_first,),
    "an orientation from the front": (to.set_in("detector", ImageOrientationPatient=[1, 0, 0, 0, 0, -1]),),
    "zoom": (to.set_in("detector", ZoomFactor=[1.46, 1.46], ZoomCenter=[0, 0]),),
    "another table": (to.set_in("rotation", TableHeight="12", TableTraverse="-900"),),
    "signed": (to.stored("<i2"),),
    "words of 32 bits": (to.stored("<u4"),),
    "a slope": (to.stored("<u2", slope=0.5),),
    "continuous": (to.set_in("", TypeOfDetectorMotion="CONTINUOUS"),),
    "no collimator's type": (to.set_in("detector", CollimatorType="", FocalDistance=None),),
    "a second detector's item": (lambda ds: ds.DetectorInformationSequence.append(to.head(ds, 135.44)),),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_the_same_acquisition(file, plain, fresh, name):
    in_order = name in ("no vectors", "words of 32 bits")
    changes = RIGHT[name] if in_order else (*RIGHT[name], to.reordered(fresh))
    found = read_projections(file, changed(file, *changes))
    scale = found.peak.counts.sum(dtype=np.float64) / plain.peak.counts.sum(dtype=np.float64)
    assert scale == pytest.approx({"2 rotations of unequal time": 2, "there and back": 0.5}.get(name, 1), abs=1e-6)
    np.testing.assert_allclose(found.peak.counts, scale * plain.peak.counts, atol=1e-3)
    np.testing.assert_allclose(found.angles, plain.angles, atol=0.01)
    np.testing.assert_allclose(found.radius_mm, plain.radius_mm)
    assert (found.pixel_mm, found.phase, found.isotope) == (plain.pixel_mm, plain.phase, plain.isotope)
    assert found.top_mm == pytest.approx(plain.top_mm, abs=1e-3)
    assert str(found.peak) == "126.45 to 154.55 keV"


@pytest.mark.parametrize(("where", "heads"), [("rotation", 1), ("detector", 1), ("rotation", 2), ("detector", 2)])
def test_radii_of_every_view(file, where, heads):
    mm = 200 + np.arange(30)

    def change(ds):
        to.heads(heads, own="beside")(ds)
        for item in (*ds.DetectorInformationSequence, *ds.RotationInformationSequence):
            if "RadialPosition" in item:
                del item.RadialPosition
        if where == "rotation":
            to.rotation_of(ds).RadialPosition = [f"{each}" for each in mm]
        else:
            for item, part in zip(ds.DetectorInformationSequence, np.split(mm, heads)):
                item.RadialPosition = [f"{each}" for each in part]

    np.testing.assert_allclose(read_projections(file, changed(file, change)).radius_mm, mm)


def one_rotation_item(ds):
    to.rotations()(ds)
    del ds.RotationInformationSequence[1]


def of_one_place(ds):
    to.heads(2)(ds)
    ds.DetectorInformationSequence[1].StartAngle = to.detector_of(ds).StartAngle


def exchanged(ds):
    to.heads(2)(ds)
    ds.DetectorVector = [3 - each for each in ds.DetectorVector]


def counted_from_somewhere(ds):
    counted_from_the_first(ds)
    for item in ds.DetectorInformationSequence:
        del item.ImageOrientationPatient


def in_two_beds(ds):
    to.rotations()(ds)
    for item, mm in zip(ds.RotationInformationSequence, ("1440", "1100")):
        item.TableTraverse = mm


def one_untold_time(ds):
    to.rotations(seconds=(1, 2))(ds)
    del ds.RotationInformationSequence[1].ActualFrameDuration


def an_arc_of_all_without_steps(ds):
    to.heads(2, arc=180)(ds)
    del to.rotation_of(ds).AngularStep


def leftover_rotations(ds):
    ds.RotationInformationSequence.append(to.turn(ds, 45.44, 30))


def renumbered(ds):
    to.some_views(np.arange(30) != 12, promise=False)(ds)
    ds.AngularViewVector = [*range(1, 30)]


def higher(ds):
    to.heads(2)(ds)
    x, y, z = map(float, ds.DetectorInformationSequence[1].ImagePositionPatient)
    ds.DetectorInformationSequence[1].ImagePositionPatient = [x, y, z + 40]


REFUSED = {
    "one item for two rotations": (one_rotation_item, "found one item"),
    "leftover rotations": (leftover_rotations, "items that differ"),
    "two heads at one place": (of_one_place, "found one twice"),
    "two heads exchanged": (exchanged, "as different as any two; the Start Angles"),
    "starts that count from somewhere": (counted_from_somewhere, "that agree"),
    "heads of two heights": (higher, "40 mm apart"),
    "0 in front": (to.set_in("rotation", StartAngle="314.56"), "orientation of 225"),
    "0 at the other side": (to.set_in("rotation", StartAngle="45.44"), "orientation of 225"),
    "a fan beam": (to.set_in("detector", CollimatorType="FANB"), "fan-beam"),
    "a focus": (to.set_in("detector", CollimatorType=None, FocalDistance="650"), "fan-beam"),
    "pinholes": (to.set_in("detector", CollimatorType="PINH"), "pinhole"),
    "an astigmatic collimator by name": (to.set_in("detector", CollimatorGridName="SMARTZOOM"), "astigmatic"),
    "already corrected": (to.set_in("", CorrectedImage=["UNIF", "ATTN"]), "corrected for attenuation"),
    "two beds": (in_two_beds, "340 mm along"),
    "an axis beside the middle": (to.set_in("detector", CenterOfRotationOffset="12"), "12 mm beside"),
    "a time that is not told": (one_untold_time, "Frame Duration"),
    "without the first views": (to.some_views(slice(2, None), promise=False), "numbered from 1"),
    "without the last views": (to.some_views(slice(28), promise=True), "found 28"),
    "without a view, numbered anew": (renumbered, "cover 174"),
    "the scatter window alone": (to.only_window(2, None, SCATTER), "found 108 to 126"),
    "a window that is told to be elsewhere": (to.only_window(1, (30, 80, "Tc99m")), "found 30 to 80"),
    "an arc beyond the steps": (to.set_in("rotation", ScanArc="360"), "found 360 degrees"),
    "an arc of all without steps": (an_arc_of_all_without_steps, "Angular Step"),
    "a step below 0 counter-clockwise": (
        to.set_in("rotation", RotationDirection="CC", AngularStep="-6"), "above zero",
    ),
    "transmission by its name": (to.set_in("", SeriesDescription="Transmission Gd-153"), "TRANSMISSION"),
}  # fmt: skip


def refusal(file, *changes):
    with pytest.raises(SpectacError) as caught:
        read_projections(file, changed(file, *changes))
    return str(caught.value)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_sentence(file, name):
    change, words = REFUSED[name]
    said = refusal(file, change)
    assert words in said
    assert said.startswith(f"{file}: expected ")
    assert said.endswith(".")
    assert said.count(". ") == 0


def test_frames_that_nothing_tells_apart(file, fresh):
    assert "neighbouring views" in refusal(file, to.shuffled(fresh))


def test_what_is_said(file):
    for change, words in (
        (to.set_in("rotation", RotationDirection="CC"), "about the heart's side"),
        (
            lambda ds: to.put(ds, np.minimum(to.pixels(ds), 60), AngularViewVector=np.arange(30) + 1),
            "largest count, 60",
        ),
        (to.set_in("", CountsAccumulated="1000"), "tells 1000 counts, its frames hold 3949221"),
        (to.windows((100, 180, "Tc99m")), "2 of its energy windows hold the peak"),
        (
            lambda ds: delattr(ds.EnergyWindowInformationSequence[0], "EnergyWindowRangeSequence"),
            "does not tell its energy",
        ),
        (to.set_in("", CorrectedImage=["SCAT"]), "scatter was subtracted"),
    ):
        assert words in " ".join(read_projections(file, changed(file, change)).notes)


def test_a_scatter_window_of_no_counts_is_left_out(file):
    def change(ds):
        to.windows(SCATTER)(ds)
        views = to.pixels(ds).copy()
        views[-1] = 0
        ds.PixelData = views.tobytes()

    found = read_projections(file, changed(file, change))
    assert found.others == ()
    assert "108 to 126 keV has views without counts" in " ".join(found.notes)


def test_scatter_is_not_subtracted_twice(tmp_path, rng):
    ds = pydicom.dcmread(write_patient(tmp_path / "plain.dcm", rng))
    to.windows(SCATTER)(ds)
    ds.save_as(tmp_path / "as_acquired.dcm")
    ds.CorrectedImage = ["SCAT"]
    ds.save_as(tmp_path / "subtracted.dcm")
    quick = {"axis": (45.0, 25.0, 20.0, -20.0, 0.0), "planes": ("SA",), "iterations": 1, "ac": "chang"}
    as_acquired, subtracted = (
        sf.reconstruct(tmp_path / f"{name}.dcm", **quick) for name in ("as_acquired", "subtracted")
    )
    assert [made.stacks[1].scatter for made in (as_acquired, subtracted)] == ["dual energy window", ""]
    with pytest.raises(SpectacError, match="as acquired"):
        sf.reconstruct(tmp_path / "subtracted.dcm", **quick, scatter="window")


def test_the_volume_is_the_same(tmp_path, file, fresh):
    (tmp_path / "other.dcm").write_bytes(changed(file, to.heads(3, own="rotation"), to.reordered(fresh)))
    quick = {"axis": (45.0, 20.0, 40.0, -30.0, 20.0), "planes": ("SA",), "iterations": 1}
    a, b = (sf.reconstruct(each, **quick).volumes["NC"] for each in (file, tmp_path / "other.dcm"))
    # Start Angles of heads are written with six digits, the rotation's with five and a step.
    assert float((a - b).abs().max()) <= 1e-3 * float(a.max())
