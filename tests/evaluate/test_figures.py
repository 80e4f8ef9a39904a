import matplotlib
import numpy as np
import pytest
from fake_cohort import PHASES, FakeCohort
from matplotlib.figure import Figure
from PIL import Image

from spectac_fast.evaluate.figures import colours, figures, pictures
from spectac_fast.evaluate.figures.pictures import Stacks, patients_panel, phase_panel


def stacks(rng):
    cohort = FakeCohort(rng.integers(1 << 30), cases=1)
    found = {}
    for plane in ("SA", "VLA", "HLA"):
        nc, ac = cohort.pair(0, "stress", plane)
        found[plane] = Stacks(nc, ac, ac, cohort.spacing_mm)
    return found


def test_perfusion_lightness_is_linear_and_ends_black_and_white():
    colour = colours.perfusion()(np.linspace(0, 1, 256))[:, :3]
    light = colours.lightness(colour)
    np.testing.assert_allclose(light, np.linspace(0, 100, 256), atol=0.2)
    warm = colour[20:235]
    assert (warm[:, 0] >= warm[:, 1]).all()
    assert (warm[:, 1] >= warm[:, 2] - 0.08).all()


def test_difference_map_is_black_at_zero_and_as_light_on_both_sides():
    colour = colours.difference()(np.linspace(0, 1, 257))[:, :3]
    np.testing.assert_array_equal(colour[128], 0)
    light = colours.lightness(colour)
    assert (np.diff(light[:129]) < 0).all()
    assert (np.diff(light[128:]) > 0).all()
    assert abs(light[0] - light[-1]) < 3
    assert (colour[:120, 2] > colour[:120, 0]).all()
    assert (colour[137:, 0] > colour[137:, 2]).all()


def test_lightness_of_known_colours():
    # CIE L* of sRGB red, green, blue (D65): 53.24, 87.73, 32.30.
    np.testing.assert_allclose(colours.lightness(np.eye(3)), [53.24, 87.73, 32.30], atol=0.01)


def test_study_panel_is_a_picture_of_the_expected_size(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(figures, "_show", lambda axes, values, pixel_mm, *, signed: shown.append((values, signed)))
    planes = stacks(np.random.default_rng())
    path = phase_panel(tmp_path / "panel.png", "stress", planes, gain=1.75, method="a test")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 1300 < image.width < 1600
        assert 950 < image.height < 1200
    assert [p.name for p in tmp_path.iterdir()] == ["panel.png"]
    assert len(shown) == 15
    nc, corrected, ac, nc_difference, difference = (shown[3 * k][0] for k in range(5))
    np.testing.assert_allclose(nc / ac, 1.75 * planes["SA"].nc[4] / planes["SA"].ac[4], rtol=1e-5)
    np.testing.assert_array_equal(corrected, ac)
    np.testing.assert_allclose(nc_difference, nc - ac)
    assert (difference == 0).all()
    assert [signed for _, signed in shown] == [False] * 9 + [True] * 6


def test_colours_of_tiles_follow_the_limits(tmp_path):
    """A tile at 0, 50, 100, 150 % shows the map's colour at 0, 0.5, 1, 1; a difference is clipped at its limit."""
    level = {"SA": 0.0, "VLA": 50.0, "HLA": 100.0}
    flat = {plane: (np.full((40, 40), v), np.full((40, 40), 150.0), np.full((40, 40), v)) for plane, v in level.items()}
    path = figures.study_panel(tmp_path / "flat.png", flat, dict.fromkeys(level, (6.8, 6.8)), title="flat")
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    layout = figures._Layout(tile=1.62, rows=3, widths=(3, 2), left=0.46, top=0.76, foot=1.08)

    def colour_at(group, column, row):
        x, y = layout.x(group, column) + 0.81, layout.size[1] - layout.y(row) - 0.81
        return pixels[round(y * figures.DPI), round(x * figures.DPI)] / 255

    for row, value in enumerate(level.values()):
        np.testing.assert_allclose(colour_at(0, 0, row), colours.perfusion()(value / 100)[:3], atol=0.01)
        np.testing.assert_allclose(colour_at(0, 1, row), colours.perfusion()(1.0)[:3], atol=0.01)
        np.testing.assert_allclose(colour_at(1, 0, row), [0, 0, 0], atol=0.01)
        np.testing.assert_allclose(colour_at(1, 1, row), colours.difference()(1.0)[:3], atol=0.01)


def test_equal_data_give_equal_bytes_and_no_global_backend(tmp_path):
    planes = stacks(np.random.default_rng())
    backend = matplotlib.rcParams["backend"]
    paths = [phase_panel(tmp_path / f"{k}.png", "rest", planes, gain=2.0, method="x") for k in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert matplotlib.rcParams["backend"] == backend


def test_a_failed_picture_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        phase_panel(tmp_path / "panel.png", "rest", stacks(np.random.default_rng()), gain=2.0, method="x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(64, 64), (20, 90), (31, 33)])
def test_crop_keeps_the_centre(shape):
    values = np.zeros(shape)
    values[shape[0] // 2, shape[1] // 2] = 1
    cut = figures.crop(values, (6.8, 3.4), view_mm=136)
    assert cut.shape == (min(shape[0], 20), min(shape[1], 40))
    assert cut.sum() == 1


def test_patients_panel_shows_each_image_in_its_own_unit(tmp_path, monkeypatch):
    drawn = {}

    def keep(path, patients, pixel_mm, **text):
        drawn.update(patients=patients, pixel_mm=pixel_mm, text=text)
        return path

    monkeypatch.setattr(pictures, "cohort_panel", keep)
    cohort = FakeCohort(3, cases=2, side=64)
    patients_panel(tmp_path / "p.png", cohort, [0, 1], PHASES[0])
    for i, (name, images) in enumerate(drawn["patients"]):
        assert name == f"{cohort.cases[i]['sex']}, BMI {cohort.cases[i]['bmi']:.0f}"
        for plane, kinds in images.items():
            sources, in_sa = ((*cohort.pair(i, "stress", p), cohort.truth(i, "stress", p)) for p in (plane, "SA"))
            for kind, source, sa in zip(("NC", "AC", "truth"), sources, in_sa):
                z, y, x = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * 6.8 for n in sa.shape], indexing="ij")
                peak = np.percentile(sa[z**2 + y**2 + x**2 <= 3600], 99.5)
                np.testing.assert_allclose(kinds[kind], 100 * source[4] / peak, rtol=1e-5)
    monkeypatch.undo()
    path = patients_panel(tmp_path / "p.png", cohort, [0, 1], PHASES[1])
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert 1500 < image.width < 1900
