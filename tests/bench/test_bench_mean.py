"""`python -m bench mean`: the mean of two trainings, and what its card says of it."""

import argparse
import hashlib
import json

import pytest
import torch

from bench.pages import mean
from spectac_fast.checkpoints.weights import load_weights, save_weights
from spectac_fast.errors import InputError, UsageError

CARD = {"slices": 64, "validation": {"trained": {"heart": 0.05}}}


@pytest.fixture
def of(tmp_path):
    """Of tensors of two files the mean: its tensors and header."""

    def made(later, earlier, told=((), ())):
        paths = [tmp_path / name for name in ("later.safetensors", "earlier.safetensors", "out/bbdm64.safetensors")]
        for path, tensors, gain, facts in zip(paths, (later, earlier), (3.0, 4.0), told, strict=False):
            save_weights(path, tensors, "bbdm", {"gain": gain, "network": {"facts": facts}}, CARD)
        arguments = argparse.Namespace(later=paths[0], earlier=paths[1], out=paths[2])
        assert mean.run(arguments) == 0
        return paths, *load_weights(paths[2])

    return made


def test_it_is_the_mean_and_says_of_what(of):
    later, earlier = ({"weight": torch.randn(6, 5).half(), "bias": torch.randn(6).half()} for _ in range(2))
    paths, tensors, header = of(later, earlier)
    for name, tensor in tensors.items():
        assert tensor.dtype == torch.float16
        exact = (later[name].double() + earlier[name].double()) / 2
        # Half of the last place of eleven bits.
        assert bool(((tensor.double() - exact).abs() <= exact.abs() * 2.0**-11 + 2.0**-25).all())
    assert header["config"] == {"gain": 3.0, "network": {"facts": []}}
    card = json.loads(paths[2].with_name("card.json").read_text())
    assert card == header["card"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths[:2]]
    # What one of both was validated at is not said of their mean.
    assert card == {"slices": 64, "mean_of_weights_sha256": digests}


def test_what_the_earlier_was_not_told_counts_as_nothing_there(of):
    name, later, earlier = "denoise_fn.facts_embed.0.weight", torch.randn(4, 3), torch.randn(4, 2)
    _, tensors, _ = of({name: later}, {name: earlier}, (["sex", "bmi", "arc"], ["sex", "bmi"]))
    assert torch.equal(tensors[name][:, 2], later[:, 2] / 2)
    assert torch.allclose(tensors[name][:, :2], (later[:, :2] + earlier) / 2)


@pytest.mark.parametrize(
    ("earlier", "told", "said"),
    [
        ({"weight": torch.ones(4, 3), "other": torch.ones(1)}, (), "other is in one of them only"),
        ({"weight": torch.ones(4, 4)}, (), r"shape \[4, 4\], expected \[4, 3\]"),
        ({"weight": torch.ones(4, 2)}, (), r"shape \[4, 2\], expected \[4, 3\]"),
        ({"weight": torch.ones(4, 3)}, ("bmi", "sex"), "expected a network told sex, bmi, found bmi, sex"),
    ],
)
def test_weights_of_another_network_are_refused(of, earlier, told, said, tmp_path):
    with pytest.raises(InputError, match=said):
        of({"weight": torch.ones(4, 3)}, earlier, (["sex", "bmi"], told))
    assert not (tmp_path / "out").exists()


def test_it_is_made_again_over_its_own(of):
    ones = {"weight": torch.ones(4, 3)}
    (*_, first), _, _ = of(ones, ones)
    before = first.read_bytes()
    of(ones, ones)
    assert first.read_bytes() == before


def test_a_file_of_somebody_elses_is_kept(of, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bbdm64.safetensors").write_text("mine")
    with pytest.raises(UsageError, match="bbdm64"):
        of({"weight": torch.ones(4, 3)}, {"weight": torch.ones(4, 3)})
    assert (tmp_path / "out" / "bbdm64.safetensors").read_text() == "mine"
