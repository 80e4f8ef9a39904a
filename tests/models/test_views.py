"""Networks of projections: what they begin as, which views they see, what they say of a study unlike what they know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fake_patient import ANGLES, WATER, body, ventricle, views_of
from view_models import LEARNT, NETWORKS, write_view_model

from spectac_fast.errors import InputError, SetupError
from spectac_fast.models import names
from spectac_fast.models.names import find
from spectac_fast.models.views.cunet import CountNetwork, load_count_model, neighbours
from spectac_fast.models.views.described import Learnt, bright, is_closed, step
from spectac_fast.models.views.dudoss import Layout, among, layout_of, load_view_model
from spectac_fast.models.views.layers import CoupledUNets, DenseUNet, padded, roots
from spectac_fast.reconstruct.acquired import Acquired
from spectac_fast.reconstruct.camera import Collimator, view_angles

WHERE = Path("tomo.dcm")


def camera(counts, angles):
    return Acquired(counts, tuple(angles), (200.0,) * len(angles), 6.8, Collimator())


@pytest.fixture
def rng():
    return np.random.default_rng()


@pytest.fixture(scope="module")
def counted():
    """A patient as counted, and as expected."""
    expected = views_of(400.0 * (ventricle() + 0.1 * body()), WATER * body())
    drawn = np.random.default_rng().poisson(expected.numpy()).astype(np.float32)
    return camera(torch.from_numpy(drawn), ANGLES), expected


def test_square_roots_have_one_noise(rng):
    for level in (20.0, 200.0):
        noise = float(roots(torch.from_numpy(rng.poisson(level, 40_000).astype(np.float32))).std())
        assert noise == pytest.approx(0.125, rel=0.05)


def test_networks_begin_as_nothing_and_take_any_size():
    images = torch.rand(2, 3, 16, 24)
    for out in CoupledUNets(3, [8, 16], 4)(images):
        assert torch.equal(out, torch.zeros(2, 1, 16, 24))
    assert torch.equal(DenseUNet(3, [8, 16], 4)(images), torch.zeros(2, 1, 16, 24))
    assert padded(torch.rand(1, 1, 13, 22), 4).shape == (1, 1, 16, 24)
    network = CountNetwork(1, [8, 8], 4)
    assert [out.shape for out in network(torch.ones(2, 3, 13, 9))] == [(2, 1, 13, 9)] * 2
    with pytest.raises(ValueError, match="context_views must be at least 1"):
        CountNetwork(0, [8, 8], 4)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("way", ["down", "up"])
def test_the_second_unet_sees_what_the_first_made_at_every_level(level, way):
    made = CoupledUNets(1, [8, 16, 24], 4)
    falling, rising = made.first(torch.rand(1, 4, 16, 16))
    usual = made.second(rising[0], falling, rising)[1][0]
    of = falling if way == "down" else rising
    without = [torch.zeros_like(each) if k == level else each for k, each in enumerate(of)]
    other = made.second(rising[0], without, rising) if way == "down" else made.second(rising[0], falling, without)
    assert not torch.allclose(other[1][0], usual)


def test_neighbours_repeat_at_an_end_and_go_on_round_a_circle():
    arc, circle = neighbours(6, 2, closed=False), neighbours(6, 2, closed=True)
    assert arc[0].tolist() == [0, 0, 0, 1, 2]
    assert circle[0].tolist() == [4, 5, 0, 1, 2]
    assert arc[5].tolist() == [3, 4, 5, 5, 5]
    assert circle[5].tolist() == [3, 4, 5, 0, 1]
    assert neighbours(6, 1, closed=False, stride=2)[3].tolist() == [1, 3, 5]
    assert arc[3].tolist() == circle[3].tolist()
    assert is_closed(view_angles(60, 360.0))
    assert not is_closed(view_angles(60, 180.0))


@pytest.mark.parametrize(("views", "arc", "factor"), [(30, 180.0, 2), (20, 180.0, 3), (15, 180.0, 4), (32, 360.0, 4)])
def test_views_are_added_where_they_are_too_far_apart(views, arc, factor):
    angles = view_angles(views, arc)
    layout = layout_of(camera(torch.ones(views, 4, 4), angles), WHERE)
    assert (layout.factor, layout.closed) == (factor, arc == 360.0)
    whole = among(camera(torch.ones(views, 4, 4), angles), layout)
    np.testing.assert_allclose(np.array(whole.angles)[layout.measured], angles)
    np.testing.assert_allclose(np.diff(whole.angles), arc / views / factor)
    assert sorted([*layout.measured.tolist(), *layout.missing.tolist()]) == list(range(views * factor))
    index, share = layout.beside(layout.missing)
    known = torch.tensor(angles)
    inside = (layout.missing > layout.first) & (layout.missing < layout.measured[-1])
    between = torch.lerp(known[index[:, 1]], known[index[:, 2]], share.double())[inside]
    np.testing.assert_allclose(between, np.array(whole.angles)[layout.missing[inside]], atol=1e-4)


def test_acquisitions_that_need_no_views_or_can_have_none(rng):
    assert layout_of(camera(torch.ones(64, 4, 4), view_angles(64)), WHERE) is None
    with pytest.raises(InputError, match=r"tomo.dcm: expected views at most 12.8 degrees apart .* found 18"):
        layout_of(camera(torch.ones(10, 4, 4), view_angles(10)), WHERE)
    uneven = view_angles(30)
    uneven[rng.integers(1, 29)] += 2.0
    with pytest.raises(InputError, match=r"tomo.dcm: expected views at equal steps"):
        layout_of(camera(torch.ones(30, 4, 4), uneven), WHERE)


def test_measured_views_are_kept_and_others_are_as_expected_of_the_patient(counted, tmp_path):
    """What nobody has trained is already nearer to what is expected of a missing view than the views beside it are."""
    whole, expected = counted
    sparse = camera(whole.counts[::2].clone(), ANGLES[::2])
    layout = Layout(12, 2, closed=False)
    model = load_view_model(write_view_model(tmp_path / "views.safetensors", "dudoss"), device="cpu")
    made = model.completed(sparse, layout)
    assert torch.equal(made.counts[::2], sparse.counts)
    np.testing.assert_allclose(made.angles, ANGLES)
    between = 0.5 * (sparse.counts[:-1] + sparse.counts[1:])
    wanted = expected[1:-1:2]
    of_model, of_between = ((found - wanted).square().mean() for found in (made.counts[1:-1:2], between))
    assert float(of_model) < 0.7 * float(of_between)
    assert float(made.counts.min()) >= 0


def test_counts_lose_noise_and_views_keep_their_sums(counted, tmp_path):
    whole, expected = counted
    model = load_count_model(write_view_model(tmp_path / "counts.safetensors", "cunet"), device="cpu")
    found = model.denoised(whole)
    assert torch.allclose(found.sum((1, 2)), whole.counts.sum((1, 2)), rtol=1e-4)
    # Where the body is the same over some bins: next to the ventricle, a mean of neighbours is none of what is there.
    flat = (expected - expected.mean()).abs() < 0.1 * expected.max()
    of_model, of_counts = ((each - expected)[flat].square().mean() for each in (found, whole.counts))
    assert float(of_model) < 0.6 * float(of_counts)


def test_what_was_not_learnt_is_said():
    learnt = Learnt.of(LEARNT)
    quiet = camera(torch.full((30, 8, 8), 20.0), view_angles(30))
    assert learnt.doubts(quiet, "dudoss") == ()
    dim = camera(torch.full((12, 8, 8), 0.1), view_angles(12))
    said = learnt.doubts(dim, "dudoss")
    assert said == (
        "there are 0.1 counts in its brightest bins, and dudoss was trained on 0.5 to 500.",
        "there are 15 degrees from view to view, and dudoss was trained on 1 to 8.",
    )
    assert bright(torch.arange(1000.0).reshape(1, 10, 100)) == pytest.approx(989, abs=1)
    assert step(view_angles(60)) == pytest.approx(3.0)


def test_weights_must_be_there_and_be_theirs(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="holds a model 'bbdm', expected cunet"):
        load_count_model(find("bbdm"))
    odd = write_view_model(tmp_path / "odd.safetensors", "dudoss", learnt={"bright": [1.0]})
    with pytest.raises(InputError, match=r"the description in the weight file .*odd.safetensors cannot be used"):
        load_view_model(odd)
    monkeypatch.setattr(names, "FOLDER", tmp_path)
    for load, name in ((load_count_model, "cunet"), (load_view_model, "dudoss")):
        with pytest.raises(SetupError, match=rf"weights of {name} are not installed: {name}64.safetensors"):
            load()
    assert set(NETWORKS) == set(names.VIEWS)
