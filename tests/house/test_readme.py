"""Every command and every Python example of the README runs, in the order in which a newcomer meets them."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from patience import HANGS_S
from PIL import Image
from places import ROOT

from bench.pages.readme import BLOCKS, CARD, PAGES, filled

pytestmark = pytest.mark.chain

_SPEC = importlib.util.spec_from_file_location("front", ROOT / "docs" / "front.py")
front = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(front)

README = ROOT / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


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
    wanted = {("make", "demo"), ("make", "test"), ("spectac", "demo"), ("spectac", "correct"), ("spectac", "report")}
    assert {tuple(c) for c in ran} >= wanted
    assert len(list((newcomer / "corrected").rglob("*.dcm"))) == 6
    assert "<svg" in (newcomer / "report.html").read_text()


def test_python_examples_run_as_written(newcomer: Path) -> None:
    examples = blocks("python")
    assert examples
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


def test_it_is_a_page() -> None:
    assert len(README.read_text().splitlines()) <= 120


def test_files_the_readme_points_to_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text()) + re.findall(r'src="([^"]+)"', README.read_text())
    assert len(links) >= 20
    for link in links:
        if "://" not in link:
            assert (ROOT / link).exists(), link


def test_places_within_pages_exist() -> None:
    for page, place in re.findall(r"\]\(([^)#]+\.md)#([^)]+)\)", README.read_text()):
        titles = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
        assert place in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, f"{page}#{place}"


def test_blocks_are_those_of_the_committed_results() -> None:
    texts = [page.read_text() for page in PAGES]
    assert sorted(re.findall(r"<!-- python -m bench readme: (\w+) -->", "".join(texts))) == sorted(BLOCKS)
    for text in texts:
        assert filled(text) == text, "run `python -m bench readme`"
        changed = re.sub(r"(bench readme: \w+ -->\n).*?(<!-- end -->)", r"\1typed\n\2", text, flags=re.DOTALL)
        assert changed != text
        assert filled(changed) == text


def _of_machines(row: str) -> list[str]:
    """The lines of the pages of single machines that a row of the table of kernels is made of."""
    *case, first, last = (cell.strip() for cell in row.strip("|").split("|"))
    machines = [first, last] if len(case) == 4 else [last]
    case = case if len(case) == 4 else [*case, first]
    found = [cell.partition(", ") for cell in machines if cell]
    return [f"| {' | '.join(case)} | {measured} | {verdict or 'reached'} |" for measured, _, verdict in found]


def test_figures_are_those_of_the_committed_results() -> None:
    """Tables are copied from bench/results line by line, never typed; those of README cell by cell."""
    committed = "\n".join(path.read_text() for path in (ROOT / "bench" / "results").rglob("*.md"))
    for page in set(PAGES) - {README, CARD}:
        rows = [line for line in page.read_text().splitlines() if re.match(r"\|.*\d+\.\d+.*\|", line)]
        assert rows
        for row in rows:
            assert row in committed or all(line in committed for line in _of_machines(row)), row
    rows = [line for line in README.read_text().splitlines() if re.match(r"\|.*\d+.*\|", line)]
    assert len(rows) == 1 + 5
    table = json.loads((ROOT / "bench/results/quality/table.json").read_text())
    ours = next(row for row in table["rows"] if row["label"] == "bbdm, 1 evaluation, planes combined")
    shown = "|".join(row.split("|")[-2] for row in rows)
    assert f"{ours['heart']['ssim']['value']:.3f} (" in shown
    assert f"{ours['heart']['rmse']['value']:.3f} (" in shown
    assert f"{ours['segments']['error']['value']:.1f} (" in shown
    assert f" {ours['segments']['new_low']} of {ours['segments']['normal_segments']} " in shown


def test_pictures_are_those_of_today(newcomer: Path) -> None:
    """Made of today's studies, weights and code, by what they remember; those of the demo, by what it draws."""
    assert not list(front.stale()), "run `python docs/front.py`"
    if not (newcomer / "demo-out" / "stress.png").is_file():
        assert shell(["spectac", "demo", "-o", "demo-out"], newcomer).returncode == 0
    for name in ("demo-stress.png", "patient.png"):
        shown, drawn = (
            np.asarray(Image.open(path).convert("RGB"), float)
            for path in (ROOT / "docs" / name, newcomer / "demo-out" / front.PICTURES[name][0])
        )
        assert shown.shape == drawn.shape, name
        # Other processors may differ by a count in a thousand, and fonts are matplotlib's own.
        assert (np.abs(shown - drawn).max(axis=2) > 16).mean() < 0.002, f"{name}: run `python docs/front.py`"


def test_a_picture_that_is_older_is_found(tmp_path: Path) -> None:
    package = tmp_path / "spectac_fast"
    (package / "weights").mkdir(parents=True)
    (package / "weights" / "bbdm64.safetensors").write_bytes(b"weights")
    code = package / "draw.py"
    code.write_text("# drawn\nsize = 3\n")
    before = front.digest(["weights/*", "draw.py"], package)
    code.write_text("# drawn with care\n\nsize = 3\n")
    assert front.digest(["weights/*", "draw.py"], package) == before
    code.write_text("size = 4\n")
    assert front.digest(["weights/*", "draw.py"], package) != before
    code.write_text("size = 3\n")
    (package / "weights" / "bbdm64.safetensors").write_bytes(b"others")
    assert front.digest(["weights/*", "draw.py"], package) != before
    for _, patterns in front.PICTURES.values():
        for pattern in patterns:
            assert any(front.PACKAGE.glob(pattern)), pattern
