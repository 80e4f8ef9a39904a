"""Planes that show one volume are averaged in what a model adds to them, and nothing else is touched."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from fake_study import CENTRE, ORIENTATIONS, Times, edit, write_planes

import spectac_fast as sf
from spectac_fast.correct import Corrector, correct_files, correct_study
from spectac_fast.correct.agreement import agreed, partners_of
from spectac_fast.correct.study import gives_single_sample, prepare
from spectac_fast.data.acquisition import claim_of
from spectac_fast.data.geometry.lattice import overlap
from spectac_fast.formats.dicom import read_series
from spectac_fast.models.translator import SamplingTranslator

EPS = np.finfo(np.float32).eps
# The same planes as a workstation might cut them: fewer and thicker slices, pixels of their own, stacks that run
# against row x column, pictures upside down.
OTHERWISE = {
    "VLA": {"shape": (23, 48, 52), "pixel_mm": (8.0, 7.4), "slice_mm": -7.1},
    "HLA": {"shape": (40, 60, 44), "pixel_mm": 5.9, "slice_mm": 4.3, "orientation": -np.array(ORIENTATIONS["HLA"])},
}


class Differs(Times):
    """Adds, to the counts of every slice, a constant of its own."""

    def translate(self, nc, seeds=None, neighbours=None, **options):
        own = (seeds % 1000).float()[:, None, None, None] / 4000
        return super().translate(nc, seeds, neighbours, **options) + own


class Draws(Differs):
    """Gives samples, and says so."""

    def moments(self, nc, seeds=None, *, samples, neighbours=None, **options):
        raise AssertionError("no deviation is asked for here")

    def single_sample(self, *, samples=1, **options):
        return samples == 1


def prepared(folder):
    return prepare(sf.read_study(folder), Times(), {}, 0)


def partners(folder):
    """{plane: the planes it is averaged with}, for the phase stress."""
    study = prepared(folder)
    planes = [series.plane for series in study.study.series]
    return {planes[k]: {planes[other] for other in others} for k, others in enumerate(study.partners)}


def shown(study):
    """The counts of each plane on the model's grid."""
    return [view.counts for view in study.views]


def lattices(study):
    return [view.lattice for view in study.views]


def points(lattice):
    return lattice.first + np.moveaxis(np.indices(lattice.shape), 0, -1) @ lattice.steps


@pytest.mark.parametrize("of_plane", [{}, OTHERWISE])
def test_a_correction_that_all_planes_share_is_kept(tmp_path, of_plane):
    write_planes(tmp_path, of_plane=of_plane)
    study = prepared(tmp_path)
    assert all(len(others) == 2 for others in study.partners)
    rng = np.random.default_rng()
    slope = rng.uniform(-1, 1, size=3)
    added = [(1000 + (points(lattice) - CENTRE) @ slope).astype(np.float32) for lattice in lattices(study)]
    ac = [np.float32(1.5) * nc + field for nc, field in zip(shown(study), added)]
    for before, after in zip(ac, agreed(ac, shown(study), 1.5, study.scales, lattices(study), study.partners)):
        # Linear interpolation of a linear field: only rounding is left, of counts and of voxel numbers up to 64.
        assert np.abs(after - before).max() <= 8 * EPS * (before.max() + 64 * 9 * np.linalg.norm(slope))


def test_constants_become_their_mean_where_all_planes_lie(tmp_path):
    write_planes(tmp_path, of_plane=OTHERWISE)
    study = prepared(tmp_path)
    constants = np.random.default_rng().uniform(100, 400, 3).astype(np.float32)
    ac = [2 * nc + constant for nc, constant in zip(shown(study), constants)]
    result = agreed(ac, shown(study), 2.0, study.scales, lattices(study), study.partners)
    for k, (nc, after) in enumerate(zip(shown(study), result)):
        weights = np.zeros((3, *nc.shape), np.float32)
        weights[k] = 1
        for other in study.partners[k]:
            common = overlap(lattices(study)[k], lattices(study)[other])
            weights[other][common.part] = common.weight
        np.testing.assert_allclose(after - 2 * nc, mean(constants, weights), rtol=2e-5)
        middle = np.linalg.norm(points(lattices(study)[k]) - CENTRE, axis=-1) < 60
        np.testing.assert_allclose((after - 2 * nc)[middle], constants.mean(), rtol=2e-5)
        corner = (after - 2 * nc)[:, 0, 0]
        np.testing.assert_allclose(corner, constants[k], rtol=2e-5)


def mean(constants, weights):
    return np.einsum("p,pkij->kij", constants, weights) / weights.sum(0)


def test_counts_stay_positive(tmp_path):
    write_planes(tmp_path)
    study = prepared(tmp_path)
    ac = [np.zeros_like(shown(study)[0]), 2 * shown(study)[1], 2 * shown(study)[2]]
    result = agreed(ac, shown(study), 3.0, study.scales, lattices(study), study.partners)
    assert min(stack.min() for stack in result) == 0


def test_planes_of_one_volume_find_each_other(tmp_path):
    write_planes(tmp_path / "plain")
    write_planes(tmp_path / "otherwise", of_plane=OTHERWISE)
    everyone = {"SA": {"VLA", "HLA"}, "VLA": {"SA", "HLA"}, "HLA": {"SA", "VLA"}}
    assert partners(tmp_path / "plain") == partners(tmp_path / "otherwise") == everyone


def test_phases_stay_apart(tmp_path):
    for phase in ("stress", "rest"):
        write_planes(tmp_path, phase=phase)
    study = prepared(tmp_path)
    for k, others in enumerate(study.partners):
        assert len(others) == 2
        assert {study.study.series[other].phase for other in others} == {study.study.series[k].phase}
    claims = [replace(claim_of(s), frame="one", header=None) for s in study.study.series]
    found = partners_of(study.study.series, claims, lambda a, b: (0.0, 0.0, 1.0))
    assert list(map(set, found)) == list(map(set, study.partners))


def test_a_plane_that_is_there_twice_has_one_partner_of_each_other_plane(tmp_path):
    for name in ("a", "b"):
        write_planes(tmp_path / name)
    for path in (tmp_path / "b").iterdir():
        edit(path, lambda ds: (setattr(ds, "SeriesInstanceUID", f"{ds.SeriesInstanceUID}.1"), renamed(ds)))
    study = prepared(tmp_path)
    assert len(study.partners) == 6
    for k, others in enumerate(study.partners):
        planes = [study.study.series[other].plane for other in others]
        assert sorted([*planes, study.study.series[k].plane]) == ["HLA", "SA", "VLA"]


def renamed(ds):
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID}.1"


@pytest.mark.parametrize(
    "change",
    [
        lambda ds: setattr(ds, "PatientID", "another"),
        lambda ds: setattr(ds.DetectorInformationSequence[0], "ImagePositionPatient", ["1e300", "-1e300", "0"]),
        lambda ds: setattr(ds, "SpacingBetweenSlices", "1e-300"),
        lambda ds: setattr(ds, "PixelData", np.roll(np.frombuffer(ds.PixelData, "<u2"), 64).tobytes()),
    ],
    ids=["other patient", "absurd place", "no spacing", "shifted"],
)
def test_a_plane_that_does_not_fit_is_left_alone(tmp_path, change):
    write_planes(tmp_path)
    edit(tmp_path / "stress_VLA_NC.dcm", change)
    assert partners(tmp_path) == {"SA": {"HLA"}, "HLA": {"SA"}, "VLA": set()}


@pytest.mark.parametrize("frame", ["1.2.3", None])
def test_counts_prove_the_frame_of_reference_that_a_header_does_not_name(tmp_path, frame):
    write_planes(tmp_path / "named")
    write_planes(tmp_path / "unnamed")
    paths = sorted((tmp_path / "unnamed").iterdir())
    for number, path in enumerate(paths):
        own = frame and f"{frame}.{number}"
        edit(path, lambda ds, own=own: setattr(ds, "FrameOfReferenceUID", own))
    assert len({read_series(path).frame_of_reference for path in paths}) == (3 if frame else 1)
    for expected, counts in zip(
        *(correct_study(sf.read_study(tmp_path / k), Differs(1.5)) for k in ("named", "unnamed"))
    ):
        np.testing.assert_array_equal(counts, expected)


def test_a_series_that_is_alone_keeps_its_bytes(tmp_path):
    write_planes(tmp_path / "one", ["SA"])
    write_planes(tmp_path / "three")
    edit(tmp_path / "three" / "stress_SA_NC.dcm", lambda ds: setattr(ds, "PatientID", "another"))
    (alone,) = correct_study(sf.read_study(tmp_path / "one"), Differs(1.5))
    study = sf.read_study(tmp_path / "three")
    among = correct_study(study, Differs(1.5))[[series.plane for series in study.series].index("SA")]
    np.testing.assert_array_equal(alone, among)


@pytest.mark.parametrize("of_plane", [{}, OTHERWISE])
def test_a_model_that_adds_nothing_still_adds_nothing(tmp_path, of_plane):
    write_planes(tmp_path / "in", of_plane=of_plane)
    assert all(prepared(tmp_path / "in").partners)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert len(report.written) == 3
    for path in report.written:
        source = read_series(tmp_path / "in" / path.name.replace("_DL-AC", ""))
        np.testing.assert_array_equal(read_series(path).counts, source.counts)


def test_planes_agree_afterwards(tmp_path):
    """Noise of each slice's own, different in every plane: a third of its variance is left, alike in all."""
    write_planes(tmp_path)
    study = prepared(tmp_path)
    rng = np.random.default_rng()
    ac = [nc + np.repeat(rng.uniform(100, 200, (len(nc), 1, 1)), 64, 1).astype(np.float32) for nc in shown(study)]

    def disagreement(stacks):
        added = [stack - nc for stack, nc in zip(stacks, shown(study))]
        common = overlap(lattices(study)[0], lattices(study)[1])
        inside = common.weight == 1
        return np.sqrt(np.mean((added[0][common.part] - common.of(added[1]))[inside] ** 2))

    before, after = (
        disagreement(ac),
        disagreement(agreed(ac, shown(study), 1.0, study.scales, lattices(study), study.partners)),
    )
    assert after < before / 3


def test_whatever_travels_together_the_bytes_are_those_of_the_study(tmp_path):
    for k in range(3):
        write_planes(tmp_path / f"{k}", study_key=f"{k}", of_plane=OTHERWISE if k == 1 else {})
    results = list(Corrector(Differs(1.5), batch_size=16).map([tmp_path]))
    assert [len(result.counts) for result in results] == [3, 3, 3]
    for result in results:
        assert [len(others) for others in result.partners] == [2, 2, 2]
        for ours, alone in zip(result.counts, correct_study(result.study, Differs(1.5), batch_size=64)):
            np.testing.assert_array_equal(ours, alone)
        turned = replace(result.study, series=result.study.series[::-1])
        for ours, alone in zip(result.counts, correct_study(turned, Differs(1.5))[::-1]):
            np.testing.assert_array_equal(ours, alone)


def test_single_samples_are_left_alone(tmp_path):
    write_planes(tmp_path)
    study = sf.read_study(tmp_path)
    strangers = [replace(series, position=(1e4 * k, 0.0, 0.0)) for k, series in enumerate(study.series)]
    alone = correct_study(replace(study, series=tuple(strangers)), Differs(1.5))
    together = correct_study(study, Differs(1.5))
    for samples, wanted in ((1, alone), (2, together)):
        for counts, expected in zip(correct_study(study, Draws(1.5), samples=samples), wanted):
            np.testing.assert_array_equal(counts, expected)
    assert not any(np.array_equal(a, b) for a, b in zip(alone, together))


def test_the_shipped_model_knows_what_is_a_sample():
    model = sf.load("bbdm", device="cpu")
    assert isinstance(model, SamplingTranslator)
    single = [{"samples": 1}, {"steps": 6}, {"steps": 6, "samples": 1}, {"steps": [900, 400]}]
    estimates = [{}, {"steps": 1}, {"steps": 1, "samples": 1}, {"samples": 8}, {"steps": 6, "samples": 2}]
    assert all(model.single_sample(**options) for options in single)
    assert not any(model.single_sample(**options) for options in [*estimates, {"steps": [400]}])
    assert not gives_single_sample(sf.load("identity"), {"samples": 1})


def test_derived_objects_name_the_planes_they_were_made_from(tmp_path):
    write_planes(tmp_path / "in", phase="rest")
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times(1.5))
    uids = {p.name: pydicom.dcmread(p).SOPInstanceUID for p in (tmp_path / "in").iterdir()}
    for path in report.written:
        ds = pydicom.dcmread(path)
        own = path.name.replace("_DL-AC", "")
        items = {item.ReferencedSOPInstanceUID: item.SpatialLocationsPreserved for item in ds.SourceImageSequence}
        assert items == {uid: "YES" if name == own else "NO" for name, uid in uids.items()}
        assert ds.SourceImageSequence[0].ReferencedSOPInstanceUID == uids[own]
        for plane in {"SA", "VLA", "HLA"} - {own.split("_")[1]}:
            assert plane in ds.DerivationDescription.split("on the same voxels, of")[1]
        assert "planes combined" in ds.DerivationDescription
    correct_files([tmp_path / "in"], tmp_path / "one", Draws(1.5), samples=1)
    ds = pydicom.dcmread(tmp_path / "one" / "rest_SA_NC_DL-AC.dcm")
    assert "planes separate" in ds.DerivationDescription
    assert "same voxels" not in ds.DerivationDescription
    assert len(ds.SourceImageSequence) == 1


def test_a_plane_that_comes_later_changes_the_others_and_their_names(tmp_path):
    write_planes(tmp_path / "in", ["SA", "HLA"])
    correct_files([tmp_path / "in"], tmp_path / "out", Differs(1.5))
    path = tmp_path / "out" / "stress_SA_NC_DL-AC.dcm"
    before = pydicom.dcmread(path)
    write_planes(tmp_path / "in", ["VLA"])
    report = correct_files([tmp_path / "in"], tmp_path / "out", Differs(1.5))
    assert (len(report.written), report.finished) == (3, [])
    after = pydicom.dcmread(path)
    assert after.PixelData != before.PixelData
    assert after.SOPInstanceUID != before.SOPInstanceUID
    assert after.SeriesInstanceUID != before.SeriesInstanceUID
    report = correct_files([tmp_path / "in"], tmp_path / "out", Differs(1.5))
    assert (report.written, len(report.finished)) == ([], 3)
    (tmp_path / "in" / "stress_VLA_NC.dcm").unlink()
    correct_files([tmp_path / "in"], tmp_path / "out", Differs(1.5), overwrite=True)
    assert pydicom.dcmread(path) == before
