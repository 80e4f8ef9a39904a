"""The pages of the site: their code runs, their links lead somewhere, their figures are measured ones."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from code_blocks import blocks
from places import ROOT

from spectac_fast import cli

PAGES = ROOT / "docs" / "pages"
README = ROOT / "README.md"
# Every block runs, except these: they need a network, a camera, or a checkpoint of somebody else's training.
SHOWN = {"text"}


def pages() -> Iterator[Path]:
    return sorted(PAGES.rglob("*.md"))


def name(page: Path) -> str:
    return str(page.relative_to(PAGES))


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Path:
    """A reader's folder, with what the quickstart leaves there."""
    folder = tmp_path_factory.mktemp("reader")
    assert cli.main(["demo", "-o", str(folder / "demo-out"), "--model", "linear"]) == 0
    return folder


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
    monkeypatch.chdir(reader)
    ran_elsewhere = {line for kind, code in blocks(README, ROOT) if kind == "sh" for line in code.splitlines()}
    for language, code in blocks(page, ROOT):
        assert language in {"python", "sh", *SHOWN}, f"a block of {name(page)} has the language {language!r}"
        if language == "python":
            exec(compile(code, f"{name(page)}:python", "exec"), {"__name__": "__main__"})
        elif language == "sh":
            for line in code.splitlines():
                # What the README says as well is run by its own test.
                if line not in ran_elsewhere:
                    run_line(line, monkeypatch)


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


def test_public_names_are_in_the_api_pages():
    import spectac_fast

    api = "\n".join(page.read_text() for page in (PAGES / "api").glob("*.md"))
    shown = {line.rpartition(".")[2] for line in re.findall(r"^::: (.+)$", api, re.MULTILINE)}
    assert set(spectac_fast.__all__) - {"__version__"} <= shown


def test_files_that_pages_name_exist():
    for page in pages():
        for path in re.findall(r"`((?:bench|examples|spectac_fast|tests|docs|csrc)/[\w./-]+)`", page.read_text()):
            assert (ROOT / path).exists() or "NAME" in path, f"{name(page)}: {path}"
