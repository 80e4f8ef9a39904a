"""A field that ends within the patient: what lies outside changes nothing, or the file is refused in a sentence."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fake_study import CENTRE, Times, edit, ventricle, write_planes

from spectac_fast import read_study
from spectac_fast.cli import main
from spectac_fast.cohort.surroundings import surroundings_of
from spectac_fast.correct import correct_study
from spectac_fast.correct.corrector import Corrector
from spectac_fast.correct.study import prepare
from spectac_fast.correct.view import whole
from spectac_fast.data.geometry.around import Expected
from spectac_fast.data.study import Study
from spectac_fast.errors import InputError

FREE = Expected((150.0, 435.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0))
# Refused below 272 mm, warned about below 326 mm.
COSTLY = Expected(
    (150.0, 218.0, 272.0, 326.0, 435.0),
    (0.2, 0.1, 0.02, 0.01, 0.0),
    (0.3, 0.2, 0.05, 0.03, 0.0),
    (0.1, 0.05, 0.01, 0.0, 0.0),
)


def chest(radius_mm):
    """Counts of a heart within tissue as wide as that."""

    def volume(mm):
        away = np.linalg.norm(np.asarray(mm) - CENTRE, axis=-1)
        return ventricle(mm) + 90 / (1 + np.exp((away - radius_mm) / 8))

    return volume


class Looks(Times):
    """A translator that corrects by how much it sees of the patient, as networks do."""

    field_px = (64, 64)

    def __init__(self, surroundings):
        super().__init__()
        self.surroundings, self.seen = surroundings, []

    def translate(self, nc, seeds=None, **given):
        self.seen.append(nc.numpy().copy())
        seen = (nc + 1).mean(dim=(1, 2, 3), keepdim=True)
        return (nc + 1) * (1 + 4 * seen) - 1


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    volumes = []
    for radius in (140, 155, 170):
        folder = tmp_path_factory.mktemp(f"whole{radius}")
        write_planes(folder, ("SA",), volume=chest(radius))
        series = read_study(folder).series
        volumes.append(whole(series, 950.0))
    return replace(surroundings_of(volumes, "three volumes", components=2), alone=FREE, together=FREE)


def outside(px, round_=False):
    """Pixels outside of a square or circle of `px` across."""
    y, x = np.abs(np.indices((64, 64)) - 31.5)
    return y * y + x * x > px * px / 4 if round_ else np.maximum(y, x) > px / 2


def zeroed(folder, pixels, value=0, planes=("SA", "VLA", "HLA")):
    """Put a value around the hearts in files, as padding where it is below zero."""

    def change(ds):
        values = ds.pixel_array.astype("<i2" if value else "<u2")
        values[:, pixels] = value
        ds.PixelData, ds.PixelRepresentation = values.tobytes(), int(value != 0)
        ds.LargestImagePixelValue = int(values.max())
        if value:
            ds.add_new("PixelPaddingValue", "SS", value)

    for plane in planes:
        edit(folder / f"stress_{plane}_NC.dcm", change)


def corrected(folder, model):
    study = read_study(folder)
    return {series.plane: counts for series, counts in zip(study.series, correct_study(study, model))}


@pytest.mark.parametrize("planes", [("SA",), ("SA", "VLA", "HLA")])
def test_what_lies_outside_changes_nothing(tmp_path, surroundings, planes):
    for name in ("whole", "cropped", "zeros", "padding"):
        (tmp_path / name).mkdir()
        shape = (29, 32, 32) if name == "cropped" else (29, 64, 64)
        write_planes(tmp_path / name, planes, volume=chest(160), shape=shape)
    zeroed(tmp_path / "zeros", outside(32), planes=planes)
    zeroed(tmp_path / "padding", outside(32), -5, planes=planes)
    found = {name.name: corrected(name, Looks(surroundings)) for name in sorted(tmp_path.iterdir())}
    unaware = Looks(None)
    unaware.field_px = (0, 0)
    before = corrected(tmp_path / "cropped", unaware)
    part = (slice(None), slice(16, 48), slice(16, 48))
    for plane in planes:
        truth = found["whole"][plane][part]
        heart = truth > 0.2 * truth.max()

        def off(counts, truth=truth, heart=heart):
            return np.sqrt(np.mean((counts - truth)[heart] ** 2) / np.mean(truth[heart] ** 2))

        assert off(before[plane]) > 0.1
        assert off(found["cropped"][plane]) < 0.4 * off(before[plane])
        for name in ("zeros", "padding"):
            np.testing.assert_allclose(found[name][plane][part], found["cropped"][plane], rtol=1e-3, atol=0.02)
            assert not found[name][plane][:, outside(32)].any()


def test_a_circle_has_the_scale_and_the_partners_of_the_whole(tmp_path, surroundings):
    for name in ("whole", "circle"):
        (tmp_path / name).mkdir()
        write_planes(tmp_path / name, volume=chest(160))
    zeroed(tmp_path / "circle", outside(32, round_=True))
    one, other = (prepare(read_study(tmp_path / name), Looks(surroundings), {}, 0) for name in ("whole", "circle"))
    assert other.scales == one.scales
    assert other.partners == one.partners == [(1, 2), (0, 2), (0, 1)] or {len(p) for p in other.partners} == {2}
    for view, stack in zip(other.views, other.inputs):
        assert stack.shape == (29, 64, 64)
        assert view.known.mean() < 0.2


def test_a_whole_field_is_left_alone(tmp_path, surroundings):
    write_planes(tmp_path, volume=chest(160))
    with_them, without = Looks(surroundings), Looks(None)
    found, wanted = corrected(tmp_path, with_them), corrected(tmp_path, without)
    for plane in wanted:
        np.testing.assert_array_equal(found[plane], wanted[plane])
    np.testing.assert_array_equal(*(np.concatenate(model.seen) for model in (with_them, without)))


@pytest.mark.parametrize(
    ("px", "planes", "said"),
    [
        (32, ("SA",), "SA_NC.dcm: expected a field of at least 272 mm about the heart, in a plane that is"),
        (32, ("SA", "VLA", "HLA"), ""),
        (
            42,
            ("SA",),
            "286 mm ends within the patient.*differ from those of a whole field by 1.7 % on average and 4.5 %",
        ),
        (50, ("SA",), ""),
        (64, ("SA",), ""),
    ],
)
def test_what_a_field_costs_is_said(tmp_path, surroundings, px, planes, said):
    write_planes(tmp_path, planes, volume=chest(190), shape=(29, px, px))
    model = Looks(replace(surroundings, alone=COSTLY))
    study = read_study(tmp_path)
    if "expected" in said:
        with pytest.raises(InputError, match=f"{said}.*found 218 mm; .* by 10.1 %"):
            prepare(study, model, {}, 0)
        return
    warnings = [text for text in prepare(study, model, {}, 0).warnings if "field" in text]
    assert len(warnings) == bool(said)
    assert not said or re.search(said, warnings[0])


def test_a_refused_plane_leaves_the_others(tmp_path, surroundings):
    write_planes(tmp_path, volume=chest(160), of_plane={"HLA": {"shape": (29, 24, 24)}})
    model = Looks(replace(surroundings, together=COSTLY, alone=FREE))
    (result,) = Corrector(model).map([tmp_path])
    assert [series.plane for series in result.study.series] == ["SA", "VLA"]
    assert "HLA_NC.dcm: expected a field of at least 272 mm about the heart, found 163 mm" in result.failed[0]


def test_models_that_see_no_surroundings_mind_no_field(tmp_path):
    write_planes(tmp_path, ("SA",), volume=chest(160), shape=(29, 24, 24))
    (series,) = read_study(tmp_path).series
    (counts,) = correct_study(Study((series,)), Times(2.0))
    np.testing.assert_allclose(counts, 2 * series.counts, rtol=1e-5)


def test_info_says_how_large_a_field_is(tmp_path, capsys):
    write_planes(tmp_path, ("SA",), volume=chest(160), shape=(29, 24, 24))
    assert main(["info", str(tmp_path / "stress_SA_NC.dcm")]) == 0
    said = capsys.readouterr().out
    assert "field of 163 mm, which ends within the patient; would be refused" in said
    write_planes(tmp_path, ("SA",), volume=chest(160))
    assert main(["info", str(tmp_path / "stress_SA_NC.dcm")]) == 0
    assert "field of 435 mm; would be corrected" in capsys.readouterr().out
