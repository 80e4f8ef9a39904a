"""What readers of maps and slices are used to: one order, numbers, outlines, stress minus rest, their own colours."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from spectac_fast.commands.studies import report as command
from spectac_fast.evaluate.figures.colours import TABLES, lightness, table
from spectac_fast.evaluate.regional.segments import means
from spectac_fast.evaluate.report import images
from spectac_fast.evaluate.report.analysis import MARKED, Phase, emphasised, reversibility, signed
from spectac_fast.evaluate.report.bullseye import bullseye
from spectac_fast.evaluate.report.forms.picture import summary_picture
from spectac_fast.evaluate.report.gather import ReportStudy, Stack, _joint
from spectac_fast.evaluate.report.page import page
from spectac_fast.evaluate.report.words import NAMES, ORDER

KINDS = ("NC", "corrected", "AC")


def phase(name: str, levels: dict[str, float]) -> Phase:
    """A phase whose maps are flat but for an inferior wall of so many percent, by kind of image."""
    counts = np.zeros((9, 16, 16), np.float32)
    counts[:, 4:12, 4:12] = 80
    stack = Stack(counts, (6.8, 6.8, 6.8), np.zeros(3), np.diag([-6.8, 6.8, 6.8]))
    polar = {}
    for kind, level in levels.items():
        polar[kind] = np.full((24, 72), 90.0)
        polar[kind][:, 45:63] = level
    return Phase(
        name,
        {kind: {"SA": stack} for kind in levels},
        peaks=dict.fromkeys(levels, 100.0),
        polar=polar,
        segments={kind: means(of) for kind, of in polar.items()},
    )


@pytest.fixture
def phases() -> list[Phase]:
    return [
        phase("stress", {"AC": 80.0, "corrected": 84.0, "NC": 60.0}),
        phase("rest", {"AC": 88.0, "corrected": 90.0, "NC": 75.0}),
    ]


def test_stress_minus_rest_is_shown_of_every_kind(phases):
    found = reversibility(phases)
    assert list(found) == list(KINDS)
    for kind, difference in zip(KINDS, (-15, -6, -8)):
        assert found[kind][10, 50] == difference
        assert found[kind][10, 10] == 0
    text = page(ReportStudy("abc", {}), phases)
    part = text.partition("Stress − rest")[2].partition('class="bars"')[0]
    assert part.count("<svg") == 3
    assert "Polar map, stress minus rest, NC: from −15 points" in part
    assert "less at stress than at rest" in part
    assert reversibility(phases[:1]) == {}
    assert "Stress − rest" not in page(ReportStudy("abc", {}), phases[:1])


def test_images_stand_in_one_order_everywhere(phases):
    text = page(ReportStudy("abc", {}), phases)
    maps, slices = text.partition('id="maps"')[2].partition('id="slices"')[::2]
    named = {name: kind for kind, name in NAMES.items()}
    of_maps = [named[name] for name in re.findall(r"<figcaption>([^<]+)</figcaption>", maps)]
    assert of_maps == [*("NC", "corrected", "difference", "AC") * 2, "NC", "corrected", "AC"]
    of_slices = [named[name] for name in re.findall(r"<figcaption><b>([^<]+)</b>", slices)]
    assert of_slices == [kind for kind in ("NC", "corrected", "difference", "AC") for _ in phases]
    assert sorted(of_slices, key=ORDER.index) == of_slices


def test_every_slice_has_its_number(phases):
    text = page(ReportStudy("abc", {}), phases)
    shown = re.findall(r'<div class="numbers" style="--n:(\d+)">(.*?)</div>', text)
    assert len(shown) == 4 * 2
    window = images.window(phases[0], "SA", phases[0].stacks["NC"]["SA"], images.half_extent(phases, "SA"))
    for count, spans in shown:
        numbers = [int(n) for n in re.findall(r"<span>(\d+)</span>", spans)]
        assert len(numbers) == int(count)
        assert numbers == [k + 1 for k in window.slices]


@pytest.mark.parametrize(
    ("value", "shown", "stands_out"),
    [(4.4, "+4", 0), (4.49, "+4", 0), (4.6, "+5", 1), (5.0, "+5", 1), (-4.6, "−5", -1), (-4.4, "−4", 0), (0.2, "0", 0)],
)
def test_emphasis_follows_what_is_shown(value, shown, stands_out):
    assert signed(value) == shown
    assert emphasised(value) == stands_out
    assert (abs(int(shown.replace("−", "-"))) >= MARKED) == bool(stands_out)


def test_emphasis_in_the_table_is_that_of_its_numbers(phases):
    phases[0].segments["corrected"] = phases[0].segments["NC"] + np.linspace(-8, 8, 17)
    text = page(ReportStudy("abc", {}), phases)
    assert f"changes of {MARKED} points and more are marked" in text
    cells = re.findall(r'<td(?: class="([^"]*)")?>([+−]\d+)</td>', text)
    assert len(cells) > 17
    for classes, number in cells:
        large = abs(int(number.replace("−", "-"))) >= MARKED
        assert bool({"up", "down"} & set(classes.split())) == large, number


def test_white_myocardium_has_an_outline():
    text = bullseye(np.full((24, 72), 100.0), "perfusion", "stress", "NC")
    outlines = re.findall(r'<circle r="100" fill="none" stroke="(#\w+)"', text)
    assert outlines
    assert all(lightness(np.array(to_rgb(colour))) < 50 for colour in outlines)


def test_what_is_compared_is_said(phases):
    assert "in % of its own maximum" in page(ReportStudy("abc", {}), phases)


def test_colours_are_chosen(phases):
    assert command.COLOURS == TABLES
    pages = {name: page(ReportStudy("abc", {}), phases, colours=name) for name in TABLES}
    assert len(set(pages.values())) == len(TABLES)
    for name in TABLES:
        colours = images.palette(f"perfusion-{name}")
        assert colours.shape == (255, 3)
        assert colours[0].max() == 0
        shades = lightness(table(name)(np.linspace(0, 1, 64))[:, :3])
        if name in ("warm", "grey"):
            assert (np.diff(shades) > 0).all()
    np.testing.assert_array_equal(images.palette("perfusion"), images.palette("perfusion-warm"))
    assert np.ptp(images.palette("perfusion-grey").astype(int), axis=1).max() == 0
    pictures = {summary_picture(ReportStudy("abc", {}), phases, colours=name)[1] for name in ("warm", "grey")}
    assert len(pictures) == 2


def test_hashes_are_said_once():
    head = "Research use only. Estimated by spectac_fast 1, model bbdm (weights SHA-256 abc)."
    said = {
        _joint(f"{head} Mean of the corrections of this plane and, on the same voxels, of {planes}. Settings: seed 0.")
        for planes in ("VLA, HLA", "SA, HLA", "VLA, SA", "SA")
    }
    assert said == {f"{head} Mean of the corrections of the planes that hold a voxel. Settings: seed 0."}
    assert _joint(f"{head} Settings: seed 0.") == f"{head} Settings: seed 0."
