"""Stacks of one reconstruction that were stored in two files are known, and nothing else is taken for that."""

from dataclasses import replace

import numpy as np
import pytest
from fake_study import edit, write_nc, write_planes

from spectac_fast import read_study
from spectac_fast.data.pieces import pieces
from spectac_fast.formats.dicom import read_series


@pytest.fixture
def whole(tmp_path):
    write_planes(tmp_path, ["SA"])
    return read_series(tmp_path / "stress_SA_NC.dcm")


def part(whole, first, last, **other):
    """Slices first ... last - 1 of a stack, where they lie."""
    at = np.add(whole.position, first * whole.spacing_mm[0] * whole.directions[0])
    return replace(whole, counts=whole.counts[first:last], position=tuple(map(float, at)), **other)


def test_each_part_names_those_that_it_touches(whole):
    n = len(whole.counts)
    cuts = [(0, 9), (9, 20), (20, n)]
    for order in ((0, 1, 2), (2, 0, 1)):
        at = {cut: k for k, cut in enumerate(cuts[j] for j in order)}
        found = pieces([part(whole, *cuts[j]) for j in order])
        assert found[at[cuts[1]]] == sorted((at[cuts[0]], at[cuts[2]]))
        assert found[at[cuts[0]]] == found[at[cuts[2]]] == [at[cuts[1]]]


@pytest.mark.parametrize(
    ("first", "change"),
    [
        (8, {}),
        (11, {}),
        (9, {"phase": "rest"}),
        (9, {"plane": "VLA"}),
        (9, {"pixel_mm": (6.4, 6.4)}),
        (9, {"attenuation_corrected": True}),
    ],
    ids=["overlap", "gap", "phase", "plane", "pixels", "kind"],
)
def test_what_only_looks_like_a_part_is_none(whole, first, change):
    assert pieces([part(whole, 0, 9), part(whole, 9, 20)])
    assert not pieces([part(whole, 0, 9), part(whole, first, 20, **change)])


def test_beside_it_is_none(whole):
    aside = part(whole, 9, 20)
    moved = tuple(map(float, np.add(aside.position, 0.5 * aside.spacing_mm[2] * aside.directions[2])))
    assert not pieces([part(whole, 0, 9), replace(aside, position=moved)])


def test_a_study_in_parts_says_so_and_is_not_judged_by_its_look(tmp_path, whole):
    for number, (first, last) in enumerate([(0, 15), (15, len(whole.counts))]):
        one = part(whole, first, last)
        geometry = {"orientation": one.orientation, "position": one.position}
        write_nc(tmp_path / "in" / f"{number}.dcm", one.counts, **geometry)
        edit(tmp_path / "in" / f"{number}.dcm", lambda ds, n=number: setattr(ds, "SeriesInstanceUID", f"1.2.{n}"))
    notes = {series.path.name: series.notes for series in read_study(tmp_path / "in").series}
    assert notes == {
        f"{k}.dcm": (f"its slices go on in {1 - k}.dcm; each is corrected without the other's slices beside it.",)
        for k in range(2)
    }
