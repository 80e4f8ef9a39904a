"""Fresh environments: what is found in them, what goes on where it was, what could not be had; and the wheels."""

import json
import os
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_study import edit, heart, write_nc
from places import ROOT

from bench.__main__ import main
from bench.evidence.installed import environments, fresh, steps, wheels
from spectac_fast.errors import SetupError

THIS = f"{sys.version_info[0]}.{sys.version_info[1]}"
VARIABLE = f"SPECTAC_FAST_PYTHON_{THIS.replace('.', '_')}"
# Plays uv: an environment is a folder with a Python and a spectac that are played, too.
UV = r"""#!/bin/sh
echo "$*" >>"$NOTES"
case "$1 $2" in
"python find") exit 2 ;;
"pip install") case "$*" in *"$UNFIT"*) echo "error: $UNFIT is not to be had"; exit 1 ;; esac ;;
"pip check") echo "Checked 3 packages"; echo "All installed packages are compatible" ;;
"venv -q") for last; do :; done; mkdir -p "$last/bin"; cp "$PLAYED"/python "$PLAYED"/spectac "$last/bin" ;;
esac
"""
PYTHON = """#!/bin/sh
case "$*" in
-V) echo "Python 3.99.1" ;;
*distributions*) echo "torch==2.77.0 scikit_image==0.5" ;;
"-m spectac_fast") printf 'this  cpu  native  available\\nother cpu  native  %s\\n' "${STATE:-available}" ;;
*pytest*) printf '..s [ 50%%]\\n%s. [100%%]\\nall told in 3.21s\\n' "." ;;
esac
"""
SPECTAC = """#!/bin/sh
for word; do [ "$before" = -o ] && mkdir -p "$word" && cp "$MADE"/*.dcm "$word"; before="$word"; done
"""


@pytest.fixture
def played(tmp_path, monkeypatch, rng):
    """A machine whose installer, Pythons and corrections are played; what the installer was asked for is noted."""
    folder = tmp_path / "played"
    folder.mkdir()
    for name, text in {"uv": UV, "python": PYTHON, "spectac": SPECTAC}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    made = tmp_path / "made"
    made.mkdir()
    for plane in ("SA", "HLA"):
        write_nc(made / f"{plane}.dcm", heart(rng, shape=(5, 64, 64)), plane=plane)
    notes = tmp_path / "notes"
    notes.touch()
    for name, value in {"PLAYED": folder, "MADE": made, "NOTES": notes, "UNFIT": "nothing-of-the-kind"}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for version in ("3.11", "3.12", "3.13", "3.14"):
        monkeypatch.delenv(f"SPECTAC_FAST_PYTHON_{version.replace('.', '_')}", raising=False)
    monkeypatch.setenv(VARIABLE, f"env {sys.executable}")
    wheel = wheels.Made("key", {"commit": "abc"}, (("it.whl", 3, "00"),), (("build", "it.whl"),))
    monkeypatch.setattr(fresh, "built", lambda work: wheel)
    monkeypatch.setattr(fresh, "wheel", lambda work: work / "it.whl")
    monkeypatch.setattr(fresh, "copied", lambda folder, **choice: folder.mkdir() or folder)
    monkeypatch.setattr(environments, "WORK", tmp_path / "work")
    listed = {
        fresh.STANDARD: fresh.Environment("pinned", THIS, constraints=True),
        "other": fresh.Environment("another torch", THIS, ("torch==1.0",)),
        "absent": fresh.Environment("a Python that is not there", "3.99"),
    }
    for module in (fresh, environments):
        monkeypatch.setattr(module, "ENVIRONMENTS", listed)
    return notes


def measured(out: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> tuple[int, dict, str]:
    monkeypatch.setattr(sys, "argv", ["bench", "environments", *names, "-o", str(out)])
    return main(), json.loads(out.with_suffix(".json").read_text()), out.read_text()


def test_a_row_says_what_was_found_and_an_absent_python_is_one(played, tmp_path, monkeypatch, capsys):
    (tmp_path / "limits.txt").write_text("# of this machine\ntorch<=2.5\n")
    monkeypatch.setenv("UV_CONSTRAINT", str(tmp_path / "limits.txt"))
    code, rows, page = measured(tmp_path / "e.md", monkeypatch)
    assert code == 0
    assert re.search(r"^\* other: .*, held to torch<=2\.5$", page, re.MULTILINE)
    assert rows["other"]["versions"] == {"Python": "3.99.1", "torch": "2.77.0", "scikit-image": "0.5"}
    (row,) = re.findall(r"^\| other \|.*", page, re.MULTILINE)
    assert "| 3.99.1 | 2.77.0 | - | - | All installed packages are compatible | all 2 | 4 passed, 1 skipped |" in row
    assert row.endswith("| 2 files, the same bytes |")
    assert "could not be had here: no Python 3.99 on this machine" in page
    assert "* other: another torch; scikit-image 0.5" in page
    installs = [line for line in played.read_text().splitlines() if line.startswith("pip install")]
    assert [("constraints.txt" in line, "torch==1.0" in line) for line in installs] == [(True, False), (False, True)]
    assert not list((tmp_path / "work").glob("*/env")), "gigabytes"
    assert "absent: no Python 3.99" in capsys.readouterr().err


def test_what_was_found_is_found_once_and_a_failure_again(played, tmp_path, monkeypatch):
    monkeypatch.setenv("UNFIT", "torch==1.0")
    code, rows, page = measured(tmp_path / "e.md", monkeypatch)
    assert code == 1
    assert rows["other"]["failed"] == "install: status 1, error: torch==1.0 is not to be had"
    assert "| failed: install: status 1" in page
    monkeypatch.setenv("UNFIT", "nothing-of-the-kind")
    before = played.read_text().count("pip install")
    assert measured(tmp_path / "e.md", monkeypatch)[0] == 0
    assert played.read_text().count("pip install") == before + 1
    # One that is named is a row beside the others.
    assert list(measured(tmp_path / "e.md", monkeypatch, "other")[1]) == list(rows)


def test_what_does_not_run_compiled_fails(played, tmp_path, monkeypatch):
    monkeypatch.setenv("STATE", "no")
    _, rows, _ = measured(tmp_path / "e.md", monkeypatch, fresh.STANDARD)
    assert rows[fresh.STANDARD]["failed"].startswith("compiled operators: expected all to be available, found")


def test_tests_that_none_passed_fail():
    for said in ("", "no tests ran in 1.2s\n", "ss [100%]\n2 skipped\n"):
        with pytest.raises(steps.StepError, match="expected some that pass"):
            fresh.counted(said)


def test_counts_that_differ_are_counted(played, tmp_path, monkeypatch):
    measured(tmp_path / "e.md", monkeypatch, fresh.STANDARD)

    def other(ds):
        counts = ds.pixel_array.copy()
        counts[0, 3, 4:6] += np.array([1, 3], counts.dtype)
        ds.PixelData = counts.tobytes()

    edit(Path(os.environ["MADE"]) / "SA.dcm", other)
    page = measured(tmp_path / "e.md", monkeypatch, "other")[2]
    assert f"2 files, 1 the same bytes; 2 of {2 * 5 * 64 * 64} counts differ, by at most 3 |" in page


def test_files_without_those_of_the_standard_environment_are_nothing(played, tmp_path, monkeypatch):
    _, rows, _ = measured(tmp_path / "e.md", monkeypatch, "other")
    assert rows["other"]["failed"].startswith("corrected files: expected those of the environment standard")


def test_an_unknown_environment_and_other_rows_are_sentences(played, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "environments", "nowhere"])
    assert main() == 2
    (tmp_path / "e.json").write_text("[3]")
    monkeypatch.setattr(sys, "argv", ["bench", "environments", "-o", str(tmp_path / "e.md")])
    assert main() == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("found 'nowhere'.")
    assert second.endswith("e.json: expected rows of earlier environments, found something else.")


def test_a_python_is_what_it_is_called(played, monkeypatch):
    found = steps.interpreter(THIS)
    assert (found.prefix, found.path) == (("env",), sys.executable)
    for words, said in {"echo 2.7": "is not a Python", "/nowhere/python": "cannot be run"}.items():
        monkeypatch.setenv(VARIABLE, words)
        with pytest.raises(steps.AbsentError, match=said):
            steps.interpreter(THIS)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SetupError, match="uv: expected the installer on PATH"):
        steps.interpreter(THIS)


def test_the_oldest_versions_are_those_that_are_named():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(pin.split("==") for pin in fresh.oldest())
    assert len(pins) == len(project["dependencies"])
    for line in project["dependencies"]:
        name = re.match(r"[\w-]+", line)[0]
        assert line.startswith(f"{name}>={pins[name]}")
    # Every Python that is promised has an environment, and every file of tests is there.
    promised = {line.rpartition(" ")[2] for line in project["classifiers"] if "Python :: 3." in line}
    assert promised == {environment.python for environment in fresh.ENVIRONMENTS.values()}
    assert all((ROOT / name).is_file() for name in fresh.TESTS)


def test_copies_are_of_what_git_knows(tmp_path):
    copy = steps.copied(tmp_path / "copy", of=("packaging", "setup.py"), without=("packaging/conda",))
    held = {path.relative_to(copy).as_posix() for path in copy.rglob("*") if path.is_file()}
    assert {"setup.py", "packaging/Dockerfile"} <= held
    assert not [name for name in held if name.startswith("packaging/conda")]
    assert (copy / "setup.py").read_bytes() == (ROOT / "setup.py").read_bytes()


@pytest.fixture
def bill():
    return {
        "metadata": {"component": {"bom-ref": "root", "name": "spectac_fast", "version": "1.5"}},
        "components": [{"name": "Scikit.Image", "version": "0.5", "licenses": [{}]}, {"name": "x", "version": "2"}],
        "dependencies": [{"ref": "x==2"}, {"ref": "root", "dependsOn": ["x==2"]}],
    }


def test_a_bill_lists_what_is_installed_and_nothing_else(bill):
    held, wheel = {"scikit-image": "0.5", "x": "2", "spectac-fast": "1.5"}, Path("spectac_fast-1.5-cp311-abi3-any.whl")
    said = wheels.compared(bill, held, wheel)
    assert said.startswith("spectac_fast 1.5 with 1 packages that it needs and 2 in all")
    assert said.endswith("1 with a licence")
    for wrong in (held | {"x": "3"}, held | {"pip": "1"}, {"x": "2", "spectac-fast": "1.5"}):
        with pytest.raises(steps.StepError, match="differ in"):
            wheels.compared(bill, wrong, wheel)
    with pytest.raises(steps.StepError, match=r"is of spectac_fast 1\.5, not of spectac_fast 1\.6"):
        wheels.compared(bill, held, Path("spectac_fast-1.6-cp311-abi3-any.whl"))


def test_a_bill_is_of_the_version_that_the_wheel_has(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "packaging")
    import bill as script

    wheel = tmp_path / "it-1.5-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(
            "it-1.5.dist-info/METADATA",
            "Metadata-Version: 2.4\nName: it\nVersion: 1.5\nSummary: what \"it\" is\nLicense-Expression: MIT\n"
            "Requires-Dist: numpy>=1.26\nRequires-Dist: ray>=2; extra == \"ray\"\n\nread me\n",
        )  # fmt: skip
    tool = tmp_path / "cyclonedx-py"
    tool.write_text('#!/bin/sh\necho "$*" >"$NOTES"\nfor last; do :; done\ncp "$4" "$last"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    script.main(wheel, "env/bin/python", tmp_path / "out.json")
    asked = tomllib.loads((tmp_path / "out.json").read_text())["project"]
    assert asked == {
        "name": "it",
        "version": "1.5",
        "description": 'what "it" is',
        "license": "MIT",
        "dependencies": ["numpy>=1.26"],
    }
    words = (tmp_path / "notes").read_text().split()
    assert words[:2] == ["environment", "env/bin/python"]
    assert {"--validate", "--mc-type", "library"} <= set(words)


def test_the_list_of_wheels_is_made_once_of_what_ships(tmp_path, monkeypatch):
    """Of known steps: the real ones compile for minutes, and the acceptance part runs them."""
    runs = []

    def played(work, log):
        (work / "dist").mkdir(exist_ok=True)
        (work / "dist/it.whl").write_bytes(b"abc")
        runs.append(work)
        yield "build", "it.whl"

    monkeypatch.setattr(wheels, "_steps", played)
    monkeypatch.setattr(wheels, "WORK", tmp_path / "work")
    monkeypatch.setattr(sys, "argv", ["bench", "wheels", "-o", str(tmp_path / "w.md")])
    assert main() == main() == 0
    assert len(runs) == 1
    page = (tmp_path / "w.md").read_text()
    assert "| it.whl | 3 | `ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad` |" in page
    assert "| build | it.whl |" in page

    def failing(work, log):
        yield "build", "it.whl"
        raise steps.StepError("twine: status 1, no such file")

    monkeypatch.setattr(wheels, "_steps", failing)
    monkeypatch.setattr(wheels, "tracked", lambda *of: ["setup.py"])
    with pytest.raises(SetupError, match=r"wheels\.log: expected a wheel, found that twine: status 1, no such file\."):
        wheels.built(tmp_path / "work")


@pytest.mark.night
def test_sdist_wheel_and_bill_of_materials_are_built(figures):
    made = wheels.built(wheels.WORK)
    for step, said in made.found:
        figures(f"{step}: {said}")
    name = next(name for name, _, _ in made.files if name.endswith(".whl"))
    assert re.search(r"-cp311-abi3-manylinux_[\w.]+\.whl$", name), "one for every Python"
    assert {name.rpartition(".")[2] for name, _, _ in made.files} == {"gz", "whl", "json"}


@pytest.mark.night
@pytest.mark.parametrize("name", fresh.ENVIRONMENTS)
def test_in_a_fresh_environment(name, figures):
    found = fresh.found_in(fresh.ENVIRONMENTS[name], wheels.WORK)
    if found.absent:
        pytest.skip(found.absent)
    assert not found.failed
    held = ", ".join(f"{package} {found.versions[package]}" for package in ("Python", "torch", "numpy", "pydicom"))
    figures(f"{held}: {found.fits}; {found.operators} operators compiled; {found.tests}; {found.corrected}")
