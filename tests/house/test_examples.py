"""The examples run as they are, and need no more than they say."""

from __future__ import annotations

import importlib
import re
import runpy
import subprocess
import sys

import pytest

BLOCKED = """
import runpy, sys
sys.modules["pydicom"] = None
runpy.run_path({path!r})
unwanted = ("spectac_fast.data", "spectac_fast.models", "spectac_fast.train", "scipy", "skimage", "matplotlib")
print([name for name in sys.modules if name.startswith(unwanted)])
"""


def test_the_sampler_alone_needs_no_dicom(repository):
    path = repository / "examples/import_sampler.py"
    code = BLOCKED.format(path=str(path))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    shapes, loaded = run.stdout.splitlines()
    assert re.fullmatch(r"mean \(3, 1, 64, 64\), spread of the samples \d+\.\d{3}", shapes)
    assert loaded == "[]"
    body = [line for line in path.read_text().splitlines()[1:] if line.strip()]
    assert len(body) <= 10


# What each of the others ends with.
LAST_LINES = {
    "diffusers_scheduler": r"6 evaluations, ac \(2, 1, 64, 64\)",
    "monai_inferer": r"ac \(2, 1, 64, 64\), both loops the same: True",
    "torchmetrics_slices": r"ssim 0\.\d\d, psnr \d\d\.\d\d, rmse 0\.\d\d, slice_psnr \d\d\.\d\d, slice_rmse 0\.\d\d",
    "k_diffusion_view": r"ac \(2, 1, 64, 64\), from sigma 3\.0 to 0\.0",
    "huggingface_folder": r"bbdm, ac \(2, 1, 64, 64\), same file: True",
    "monai_bundle": r"\d{7} parameters in \['LICENSE', 'configs', 'docs', 'models'\]",
}


@pytest.mark.parametrize("name", LAST_LINES)
def test_adapters_in_ten_lines(repository, name, capsys):
    path = repository / f"examples/{name}.py"
    runpy.run_path(str(path))
    assert re.fullmatch(LAST_LINES[name], capsys.readouterr().out.splitlines()[-1])
    lines = path.read_text().splitlines()[1:]
    assert len([line for line in lines if line.strip() and not re.match("import |from ", line)]) <= 10


def test_every_example_is_run(repository):
    assert {path.stem for path in (repository / "examples").glob("*.py")} == {"import_sampler", *LAST_LINES}


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("diffusers", "diffusers"),
        ("monai", "MONAI"),
        ("torchmetrics", "torchmetrics"),
        ("huggingface", "huggingface_hub"),
    ],
)
def test_a_missing_library_is_one_sentence(name, library, monkeypatch):
    module = f"spectac_fast.integrations.{name}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] == library.lower():
            monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, library.lower(), None)
    expected = rf"{re.escape(module)} needs {library}: pip install 'spectac_fast\[{name}\]'\."
    with pytest.raises(ImportError, match=expected):
        importlib.import_module(module)
