"""Every command and every Python example of the README runs, in the order in which a newcomer meets them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from fake_study import heart
from patience import HANGS_S
from places import ROOT
from tiny_palette import palette_state

from bench.pages.readme import BLOCKS, CARD, filled

pytestmark = pytest.mark.chain

README = ROOT / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer")
    # The files the reader is taken to have: a checkpoint of somebody else's training, and stacks that are not DICOM.
    torch.save(palette_state(), folder / "200_Network_ema.pth")
    counts = heart(np.random.default_rng(0))
    np.save(folder / "counts.npy", counts)
    nibabel.save(
        nibabel.Nifti1Image(counts.transpose(2, 1, 0), np.diag([6.8, 6.8, 6.8, 1])),
        folder / "patient7_stress_SA.nii.gz",
    )
    return folder


def shell(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )


def test_commands_run_as_written(newcomer: Path) -> None:
    ran = []
    for line in "".join(blocks("sh")).splitlines():
        command = shlex.split(line, comments=True)
        if command[0] == "make":
            # The tests cannot run themselves: only see that the target can be made.
            done = shell([*command, "--dry-run"], ROOT)
        else:
            done = shell(command, newcomer)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        ran.append(command[:2])
    assert {tuple(c) for c in ran} >= {("make", "demo"), ("make", "test"), ("spectac", "demo"), ("spectac", "correct")}
    assert len(list((newcomer / "corrected").rglob("*.dcm"))) == 6
    assert (newcomer / "corrected-nifti" / "patient7_stress_SA_DL-AC.nii.gz").is_file()
    assert (newcomer / "corrected-npy" / "counts_DL-AC.npy").is_file()
    assert (newcomer / "table" / "table.md").is_file()
    again = torch.load(newcomer / "again.pth", weights_only=True)
    assert all(torch.equal(again[name], value) for name, value in palette_state().items())


def test_python_examples_run_as_written(newcomer: Path) -> None:
    examples = blocks("python")
    assert len(examples) >= 2
    if not (newcomer / "demo-out" / "input").is_dir():
        assert shell(["spectac", "demo", "-o", "demo-out"], newcomer).returncode == 0
    for example in examples:
        done = shell([sys.executable, "-c", example], newcomer)
        assert done.returncode == 0, f"{example}\n{done.stderr}"
    assert len(list((newcomer / "corrected-from-python").rglob("*.dcm"))) == 6


def test_the_python_and_the_command_line_write_the_same_counts(newcomer: Path) -> None:
    from pydicom import dcmread

    def pixels(folder: str) -> dict[str, bytes]:
        return {path.name: dcmread(path).PixelData for path in (newcomer / folder).rglob("*.dcm")}

    assert pixels("corrected") == pixels("corrected-from-python") != {}


def test_files_the_readme_points_to_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text())
    assert len(links) >= 4
    for link in links:
        if "://" not in link:
            assert (ROOT / link).exists(), link


def test_blocks_are_those_of_the_committed_results() -> None:
    text = README.read_text()
    card = CARD.read_text()
    named = re.findall(r"<!-- python -m bench readme: (\w+) -->", text + card)
    assert sorted(named) == sorted(BLOCKS)
    assert filled(text) == text, "run `python -m bench readme`"
    assert filled(card) == card, "run `python -m bench readme`"
    changed = text.replace("| reached |", "| passed |", 1)
    assert changed != text
    assert filled(changed) == text


def test_figures_are_those_of_the_committed_results() -> None:
    """Tables are copied from bench/results line by line, never typed."""
    committed = "\n".join(path.read_text() for path in (ROOT / "bench" / "results").rglob("*.md"))
    rows = [line for line in README.read_text().splitlines() if re.match(r"\|.*\d+\.\d+.*\|", line)]
    assert rows
    for row in rows:
        assert row in committed, row
