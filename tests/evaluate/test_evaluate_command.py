import json
import re

import numpy as np
import pytest
import torch
from fake_cohort import PHASES, FakeCohort, FakeTranslator
from fake_maps import write_maps
from PIL import Image

from spectac_fast.cli import main
from spectac_fast.cohort.cohort import KINDS, PLANES, STACK_SHAPE
from spectac_fast.errors import SetupError
from spectac_fast.models import registry


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two patients on disk, in the array form of a cohort."""
    folder = tmp_path_factory.mktemp("cohort")
    made = FakeCohort(np.random.default_rng().integers(1 << 30), cases=2, slices=STACK_SHAPE[0], side=STACK_SHAPE[1])
    shape = (2, len(PHASES), len(PLANES), len(KINDS), *STACK_SHAPE)
    array = np.lib.format.open_memmap(folder / "cohort.npy", mode="w+", dtype=np.uint16, shape=shape)
    for i in range(2):
        for j, phase in enumerate(PHASES):
            for k, plane in enumerate(PLANES):
                array[i, j, k] = np.stack([*made.pair(i, phase, plane), made.truth(i, phase, plane)]).round()
    array.flush()
    index = {"format": 1, "pixel_mm": 6.8, "slice_mm": 6.8, "cases": made.cases}
    (folder / "index.json").write_text(json.dumps(index))
    return folder


@pytest.fixture
def models(monkeypatch):
    known = {
        "identity": FakeTranslator("identity"),
        "scale": FakeTranslator("scale", slope=1.1, intercept=0.1),
        "linear": FakeTranslator("linear", slope=1.05, intercept=0.05),
        "bbdm": FakeTranslator("bbdm", slope=1.01, intercept=0.01, noise=0.01),
    }

    def load(name, device="auto"):
        if name not in known:
            raise SetupError(f"unknown model {name!r}")
        return known[name]

    monkeypatch.setattr(registry, "load", load)
    return known


def test_evaluate_writes_the_table_and_a_picture(data, models, tmp_path, capsys):
    out = tmp_path / "results"
    assert main(["evaluate", "--data", str(data), "-o", str(out), "--samples", "3", "--steps", "4", "-d", "cpu"]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["panel.png", "table.csv", "table.json", "table.md"]
    numbers = json.loads((out / "table.json").read_text())
    labels = [row["label"] for row in numbers["rows"]]
    assert labels[3::2] == ["bbdm, 1 evaluation", "bbdm, mean of 3 x 4-step samples", "bbdm, one 4-step sample"]
    assert labels[4::2] == [f"{label}, planes combined" for label in labels[3:7:2]]
    assert numbers["head"]["patients"] == 2
    assert numbers["head"]["slices"] == 2 * 6 * 29
    assert numbers["head"]["resamples"] >= 2000
    assert numbers["head"]["device"] == "cpu"
    assert all(row["seconds_per_slice"] > 0 for row in numbers["rows"])
    with Image.open(out / "panel.png") as image:
        assert image.format == "PNG"
    printed = capsys.readouterr().out
    for row in numbers["rows"]:
        assert re.search(rf"^{re.escape(row['label'])} .*{row['heart']['rmse']['value']:.4f}", printed, re.MULTILINE)
    # A warm-up series a row, 12 scored ones for two patients, which rows of one run share, and the picture's three.
    assert len(models["identity"].calls) == 1 + 12
    assert len(models["bbdm"].calls) == 5 + 3 * 12 + 3


def test_cases_limits_the_patients(data, models, tmp_path):
    assert main(["evaluate", "--data", str(data), "--models", "identity", "--cases", "1", "-o", str(tmp_path)]) == 0
    numbers = json.loads((tmp_path / "table.json").read_text())
    assert numbers["head"]["case_seeds"] == [600_000]
    assert numbers["rows"][0]["whole"]["rmse"]["low"] is None
    assert "rmse_over_linear" not in numbers["rows"][0]["whole"]


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ({"--data": "nowhere"}, 3, "expected a cohort folder"),
        ({"--models": ","}, 2, "at least one model"),
        ({"--models": "linear,identity,linear"}, 2, "'linear'"),
        ({"--models": "bbdn"}, 4, "unknown model 'bbdn'"),
        ({"-o": "taken/inside"}, 4, "expected a folder to write to"),
    ],
)
def test_bad_arguments_are_one_sentence(data, models, tmp_path, capsys, monkeypatch, change, status, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("x")
    arguments = {"--data": str(data), "--models": "identity", "-o": "out"} | change
    assert main(["evaluate", *(word for pair in arguments.items() for word in pair)]) == status
    error = capsys.readouterr().err
    assert re.fullmatch(r"spectac: .+\n", error)
    assert sentence in error
    assert not (tmp_path / "out").exists()


def test_a_model_that_gives_nan_fails_and_writes_no_table(data, models, tmp_path, capsys):
    models["identity"].translate = lambda nc, seeds=None, **options: torch.full_like(nc, torch.nan)
    assert main(["evaluate", "--data", str(data), "--models", "identity", "-o", str(tmp_path)]) == 1
    assert "'identity' gave values that are not finite" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_of_maps_is_refused(models, tmp_path, capsys):
    maps = write_maps(tmp_path / "maps", [500_001])
    assert main(["evaluate", str(maps), "-o", str(tmp_path / "out"), "-d", "cpu"]) == 2
    assert (
        capsys.readouterr().err == f"spectac: {maps}: expected images, NC and AC, found a cohort of attenuation maps.\n"
    )
    assert not (tmp_path / "out").exists()
