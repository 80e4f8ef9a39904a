"""PNG and TIFF files come back in their own form, as the training code of published networks saw them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_palette import palette_state

from spectac_fast.cli import main
from spectac_fast.correct.pictures import correct_pictures
from spectac_fast.data.seeds import stable_seed
from spectac_fast.errors import InputError, NoInputError, UsageError
from spectac_fast.formats.pictures import read_picture
from spectac_fast.models.registry import load

SIDE = 16


class Halved:
    """A translator that halves what lies above nothing, and remembers what it was given."""

    name, gain, pixel_mm, context_mm = "halved", 1.0, 6.8, ()

    def translate(self, nc, seeds=None, **options):
        self.nc, self.seeds, self.options = nc, seeds, options
        return 0.5 * (nc + 1.0) - 1.0


def written(path, mode):
    """A random image of a mode, brightest at 200 or 60000."""
    rng = np.random.default_rng(5)
    top = 60000 if mode.startswith("I") else 200
    values = rng.integers(0, top, (SIDE, SIDE + 2)).astype(np.uint16 if top > 255 else np.uint8)
    values[3, 4] = top
    Image.fromarray(np.stack([values] * 3, -1) if mode == "RGB" else values).save(path)
    return values


@pytest.mark.parametrize(("name", "mode", "full"), [
    ("a.png", "L", 255), ("a.png", "RGB", 255), ("a.png", "I;16", 65535),
    ("a.tif", "I;16", 65535), ("a.tiff", "L", 255),
])  # fmt: skip
@pytest.mark.parametrize("intensity", ["full", "max"])
def test_every_form_comes_back(tmp_path, name, mode, full, intensity):
    values, translator = written(tmp_path / name, mode), Halved()
    said = correct_pictures([tmp_path], tmp_path / "out", translator, intensity, seed=3)
    largest = float(values.max())
    top = full if intensity == "full" else largest
    assert translator.nc.shape == (1, 1, SIDE, SIDE + 2)
    assert float(translator.nc.max()) == pytest.approx(2 * largest / top - 1, abs=1e-5)
    with Image.open(tmp_path / name) as before, Image.open(tmp_path / "out" / name) as after:
        assert (after.mode, after.size, after.format) == (before.mode, before.size, before.format)
    found = read_picture(tmp_path / "out" / name)
    assert np.abs(found.pages[0] - values / 2).max() <= 0.51
    assert bool(said) == (full == 255)
    assert all("counts are lost" in sentence for sentence in said)


def test_pages_of_a_tiff_are_slices(tmp_path):
    pages = [Image.fromarray(np.full((SIDE, SIDE), 1000 * k, np.uint16)) for k in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    translator = Halved()
    correct_pictures([tmp_path / "stack.tif"], tmp_path / "out", translator, "max")
    assert translator.nc.shape == (3, 1, SIDE, SIDE)
    assert len(set(translator.seeds.tolist())) == 3
    assert read_picture(tmp_path / "out" / "stack.tif").pages[:, 0, 0].tolist() == [0, 500, 1000]


def coloured(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 99, (SIDE, SIDE, 3)).astype(np.uint8)).save(path)


def torn(path):
    written(path, "L")
    path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize(("make", "said"), [
    (coloured, "expected grey values, found colours"), (torn, "a.png"), (lambda path: None, "a.png"),
])  # fmt: skip
def test_what_is_no_slice_is_refused_before_anything_is_written(tmp_path, make, said):
    written(tmp_path / "0.png", "L")
    make(tmp_path / "a.png")
    with pytest.raises(InputError, match=said):
        correct_pictures([tmp_path / "0.png", tmp_path / "a.png"], tmp_path / "out", Halved())
    assert not (tmp_path / "out").exists()


def test_wrong_calls_are_refused(tmp_path):
    written(tmp_path / "a.png", "L")
    looking = Halved()
    looking.context_mm = (-6.8, 6.8)
    for translator, inputs, out, error, said in (
        (looking, tmp_path, "out", UsageError, "looks at 2 neighbouring slices"),
        (Halved(), tmp_path, ".", UsageError, "another folder than that of the inputs"),
        (Halved(), tmp_path / "none.txt", "out", InputError, "a name that ends in"),
    ):
        with pytest.raises(error, match=said):
            correct_pictures([inputs], tmp_path / out, translator)
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoInputError, match="found none"):
        correct_pictures([tmp_path / "empty"], tmp_path / "out", Halved())


def test_the_command_runs_an_imported_model(tmp_path, capsys):
    torch.save(palette_state(), tmp_path / "9_Network.pth")
    model, source = tmp_path / "palette.safetensors", tmp_path / "9_Network.pth"
    few = ["--set", "sampling.num_timesteps=3", "--size", "16", "16"]
    assert main(["import", str(source), "--layout", "palette", *few, "-o", str(model)]) == 0
    (tmp_path / "in").mkdir()
    values = written(tmp_path / "in" / "a.png", "L")
    capsys.readouterr()
    command = ["correct", "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(model), "--images"]
    assert main(command) == 0
    assert "8 bits: counts are lost" in capsys.readouterr().err
    found = read_picture(tmp_path / "out" / "a.png").pages[0]
    picture = read_picture(tmp_path / "in" / "a.png")
    seeds = torch.tensor([stable_seed(f"0 {picture.pages[0].tobytes().hex()}")])
    nc = torch.from_numpy(values / np.float32(127.5) - 1).float()[None, None]
    expected = (load(model, device="cpu").translate(nc, seeds)[0, 0].numpy() + 1) * 127.5
    assert np.abs(found - expected.clip(0, 255)).max() <= 0.51
    assert main([*command, "full", "--uncertainty"]) == 2
    assert "--uncertainty is for studies" in capsys.readouterr().err
    assert main([*command[:-1], "-i", str(tmp_path / "in" / "a.png")]) != 0
