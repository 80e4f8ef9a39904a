"""The pages of the site: their code runs, their links lead somewhere, their figures are measured ones."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
import pytest
from code_blocks import blocks
from fake_study import heart
from patience import HANGS_S
from places import ROOT

from spectac_fast import cli

pytestmark = pytest.mark.chain

PAGES = ROOT / "docs" / "pages"
README = ROOT / "README.md"
# Every block runs, except these: they need a network, a camera, or a checkpoint of somebody else's training.
SHOWN = {"text"}
# What a reader of a page is left with.
LEFT = {
    "tutorial.md": ["report.html", "report.png", "report.sr.dcm", "explained/explain.json"],
    "guides/pairs.md": ["own-study/statement.html", "own-study/matching.csv", "own-line-table/statement.md"],
    "guides/files.md": ["corrected-nifti/patient7_stress_SA_DL-AC.nii.gz", "corrected-npy/counts_DL-AC.npy"],
    "people/physicist.md": ["table/table.md", "cohort/cohort.json"],
    "people/researcher.md": ["palette.safetensors", "again.pth", "test/fake_B/p01.png", "run/bbdm64.safetensors"],
}


def pages() -> Iterator[Path]:
    return sorted(PAGES.rglob("*.md"))


def name(page: Path) -> str:
    return str(page.relative_to(PAGES))


@dataclass
class Reader:
    """A reader's folder, and what has been run there: what two pages say alike is run once.

    What README says is run by its own test, as processes.
    """

    folder: Path
    ran: set[str] = field(default_factory=set)

    def meets(self, language: str, code: str, page: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Run a block of a page, unless it has been."""
        if language == "python" and code not in self.ran:
            exec(compile(code, f"{page}:python", "exec"), {"__name__": "__main__"})
            self.ran.add(code)
        for line in code.splitlines() if language == "sh" else ():
            if line not in self.ran:
                run_line(line, monkeypatch)
                self.ran.add(line)


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Reader:
    """A reader who has been through README, and has stacks that are not DICOM."""
    folder = tmp_path_factory.mktemp("reader")
    assert cli.main(["demo", "-o", str(folder / "demo-out"), "--model", "linear"]) == 0
    assert cli.main(["correct", str(folder / "demo-out/input"), "-o", str(folder / "corrected"), "-m", "linear"]) == 0
    put_stacks(folder)
    said = {line for kind, code in blocks(README, ROOT) if kind == "sh" for line in code.splitlines()}
    return Reader(folder, said | {code for kind, code in blocks(README, ROOT) if kind == "python"})


def put_stacks(folder: Path) -> None:
    counts = heart(np.random.default_rng(0))
    np.save(folder / "counts.npy", counts)
    image = nibabel.Nifti1Image(counts.transpose(2, 1, 0), np.diag([6.8, 6.8, 6.8, 1]))
    nibabel.save(image, folder / "patient7_stress_SA.nii.gz")


def run_line(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    command = shlex.split(line, comments=True)
    if command[0] == "spectac":
        assert cli.main(command[1:]) == 0, line
    elif command[:2] == ["python", "-m"]:
        monkeypatch.setattr(sys, "argv", command[2:])
        with pytest.raises(SystemExit) as ended:
            runpy.run_module(command[2], run_name="__main__")
        assert not ended.value.code, line
    else:
        # The tests cannot run themselves: only see that the target can be made.
        assert command[0] == "make", line
        subprocess.run([*command, "--dry-run"], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("page", pages(), ids=name)
def test_the_code_of_a_page_runs(page, reader, monkeypatch):
    monkeypatch.chdir(reader.folder)
    for language, code in blocks(page, ROOT):
        assert language in {"python", "sh", *SHOWN}, f"a block of {name(page)} has the language {language!r}"
        reader.meets(language, code, name(page), monkeypatch)
    for left in LEFT.get(name(page), ()):
        assert (reader.folder / left).is_file(), left


@pytest.mark.night
def test_every_block_runs_as_a_process_of_its_own(tmp_path, monkeypatch):
    """README's, then those of all pages in their order, by a newcomer who has two stacks that are not DICOM."""
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    put_stacks(tmp_path)
    ran: set[str] = set()
    for page in (README, *pages()):
        for language, code in blocks(page, ROOT):
            lines = [code] if language == "python" else code.splitlines() if language == "sh" else []
            for line in lines:
                if line not in ran:
                    as_process(language, line, tmp_path, page)
                    ran.add(line)
    assert len(ran) > 60


def as_process(language: str, line: str, folder: Path, page: Path) -> None:
    command = [sys.executable, "-c", line] if language == "python" else shlex.split(line, comments=True)
    if command[0] == "make":
        command, folder = [*command, "--dry-run"], ROOT
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=HANGS_S, check=False)
    assert done.returncode == 0, f"{page.name}: {line}\n{done.stderr[-2000:]}"


def test_links_and_pictures_are_there():
    elsewhere = set(re.findall(r'"(pictures/[\w.-]+)"', (ROOT / "docs" / "hooks.py").read_text()))
    drawn = (ROOT / "docs" / "pictures.py").read_text()
    elsewhere |= {f"pictures/{stem}" for stem in re.findall(r'folder / "(\w+\.svg)"', drawn)}
    for page in pages():
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            if "://" not in link:
                target = (page.parent / link).resolve()
                assert target.is_file() or str(target.relative_to(PAGES)) in elsewhere, f"{name(page)}: {link}"


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"([\w/-]+\.md)", (ROOT / "docs" / "mkdocs.yml").read_text())
    assert sorted(listed) == [name(page) for page in pages()]


def test_formulas_can_be_set():
    """GitHub sets them itself; the site's are MathML."""
    converter = pytest.importorskip("latex2mathml.converter", reason="needs latex2mathml (extra: docs)")
    formulas = runpy.run_path(str(ROOT / "docs" / "formulas.py"))
    found = {page: list(formulas["formulas_in"](page.read_text())) for page in pages()}
    assert sum(map(len, found.values())) >= 8
    for page, each in found.items():
        for formula in each:
            assert converter.convert(formula).startswith("<math"), f"{name(page)}: {formula}"
        if each:
            assert formulas["typeset"](page.read_text()).count("<math") == len(each)
    text = "Costs $x_0$, as `$HOME` says.\n\n```sh\necho $A $B\n```\n\n$$\ny = x^2\n$$\n"
    made = formulas["typeset"](text)
    assert list(formulas["formulas_in"](text)) == ["x_0", "y = x^2"]
    assert "`$HOME`" in made
    assert "echo $A $B" in made
    assert made.count('display="block"') == 1


def test_no_formula_is_plain_text():
    """An indented block is code to a reader of the page, and a formula is none."""
    for page in pages():
        prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        assert not re.findall(r"\n\n {4}\S.* = .*", prose), name(page)
        assert not re.findall(r"\bsqrt\(|\bexp\(", re.sub(r"`[^`]*`|\$[^$]*\$", "", prose)), name(page)


def test_public_names_are_in_the_api_pages():
    import spectac_fast

    api = "\n".join(page.read_text() for page in (PAGES / "api").glob("*.md"))
    shown = {line.rpartition(".")[2] for line in re.findall(r"^::: (.+)$", api, re.MULTILINE)}
    assert set(spectac_fast.__all__) - {"__version__"} <= shown


def test_files_that_pages_name_exist():
    for page in pages():
        for path in re.findall(r"`((?:bench|examples|spectac_fast|tests|docs|csrc)/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists() or "NAME" in path, f"{name(page)}: {path}"
