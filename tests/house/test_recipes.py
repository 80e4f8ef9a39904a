"""Container, service, conda and wheel recipes: they name what is there, and ask for no more than the package does."""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from places import ROOT

from spectac_fast import cli
from spectac_fast._version import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGING = ROOT / "packaging"
# conda's names of what pip calls otherwise.
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


def instructions(text: str) -> list[list[tuple[str, str]]]:
    """Stages of a Dockerfile, each a list of (instruction, arguments)."""
    lines = re.sub(r"\\\n", " ", "\n".join(line for line in text.splitlines() if not line.startswith("#")))
    stages: list[list[tuple[str, str]]] = []
    for line in filter(str.strip, lines.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            stages.append([])
        stages[-1].append((word, rest.strip()))
    return stages


def parsed(words: list[str]) -> object:
    """What the command line makes of `spectac WORDS`."""
    return cli.build_parser(words[0]).parse_args(words)


def test_images_are_built_of_what_is_there_and_run_without_rights():
    stages = instructions((PACKAGING / "Dockerfile").read_text())
    names = [dict(stage)["FROM"].rpartition(" AS ")[2] for stage in stages]
    assert names == ["build", "build-cuda", "cuda", "cpu"]
    for stage in stages:
        image, _, _ = dict(stage)["FROM"].partition(" AS ")
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), "a version, so that the same comes tomorrow"
        for word, rest in stage:
            if word == "COPY" and rest.startswith("--from="):
                assert rest.split()[0].removeprefix("--from=") in names
            elif word == "COPY":
                *sources, _ = rest.split()
                assert all((ROOT / source).exists() for source in sources), rest
                # Whatever the build needs: what pyproject.toml and setup.py read.
                copied = {part for w, r in stage if w == "COPY" for part in r.split()}
                assert {"pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE", "csrc", "kernels"} <= copied
    for stage in stages[2:]:
        words = [word for word, _ in stage]
        assert dict(stage)["USER"] not in ("root", "0")
        assert words.index("USER") < words.index("ENTRYPOINT")
        assert "pip install" not in str(stage)
        assert ast.literal_eval(dict(stage)["ENTRYPOINT"]) == ["spectac"]
        parsed(ast.literal_eval(dict(stage)["CMD"]))
        check = dict(stage)["HEALTHCHECK"].partition("CMD ")[2]
        program = ast.literal_eval(check)
        assert program[0] == "python"
        ast.parse(program[2])
        assert dict(stage)["EXPOSE"] in program[2]
        assert int(dict(stage)["EXPOSE"]) == parsed(["serve", "--spool", "x"]).port


def test_the_commands_in_the_dockerfile_are_understood():
    text = re.sub(r"\\\n#", " ", (PACKAGING / "Dockerfile").read_text())
    served = re.search(r"serve (--host .+)$", text, re.MULTILINE)[1]
    assert parsed(["serve", *shlex.split(served)]).host == "0.0.0.0"
    assert parsed(shlex.split(re.search(r"spectac (correct .+)$", text, re.MULTILINE)[1])).inputs


def test_the_health_check_sees_whether_the_port_answers():
    import socket

    stage = instructions((PACKAGING / "Dockerfile").read_text())[-1]
    program = ast.literal_eval(dict(stage)["HEALTHCHECK"].partition("CMD ")[2])[2]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        # Whoever listens is connected to, before and without any answer.
        exec(program.replace("11112", str(port)), {})
    with pytest.raises(OSError, match="refused"):
        exec(program.replace("11112", str(port)), {})


def test_the_service_starts_a_node_that_has_no_rights():
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str
    text = re.sub(r"\\\n", " ", (PACKAGING / "spectac.service").read_text())
    unit.read_string(text)
    service = unit["Service"]
    variables = dict(re.findall(r"^Environment=(\w+)=(.+)$", text, re.MULTILINE)) | {
        "STATE_DIRECTORY": "/var/lib/spectac"
    }
    program, *words = shlex.split(re.sub(r"\$\{(\w+)\}", lambda found: variables[found[1]], service["ExecStart"]))
    assert program == "/opt/spectac/bin/spectac"
    args = parsed(words)
    assert (str(args.spool), args.host, args.port) == ("/var/lib/spectac", "127.0.0.1", 11112)
    for right in ("NoNewPrivileges", "DynamicUser", "ProtectHome", "PrivateTmp"):
        assert service[right] == "yes"
    assert service["StateDirectory"] == "spectac"
    assert service["Restart"] == "on-failure"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_understands_the_service(tmp_path):
    unit = tmp_path / "spectac.service"
    text = (PACKAGING / "spectac.service").read_text().replace("/opt/spectac/bin/spectac", shutil.which("true"))
    unit.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert "spectac.service" not in done.stderr, done.stderr


def test_conda_asks_for_what_pip_asks_for():
    recipe = yaml.safe_load((PACKAGING / "conda" / "meta.yaml").read_text())
    assert recipe["package"] == {"name": PROJECT["project"]["name"], "version": __version__}
    run = dict(line.partition(" ")[::2] for line in recipe["requirements"]["run"])
    wanted = {"python": PROJECT["project"]["requires-python"]}
    for line in PROJECT["project"]["dependencies"]:
        name, least = re.match(r"([\w-]+)(>=[\d.]+)", line).groups()
        wanted[CONDA.get(name, name)] = least
    assert run == wanted
    built = {line.split()[0] for line in recipe["requirements"]["host"]}
    for line in PROJECT["build-system"]["requires"]:
        name = re.match(r"[\w-]+", line)[0]
        assert CONDA.get(name, name) in built
    assert recipe["build"]["entry_points"] == [f"spectac = {PROJECT['project']['scripts']['spectac']}"]
    for line in recipe["test"]["commands"]:
        if line.startswith("spectac ") and "--version" not in line:
            parsed(shlex.split(line)[1:])


def test_wheels_are_built_for_the_pythons_that_are_promised():
    settings = PROJECT["tool"]["cibuildwheel"]
    promised = [line.rpartition(" ")[2] for line in PROJECT["project"]["classifiers"] if "Python :: 3." in line]
    assert settings["build"].split() == [f"cp{version.replace('.', '')}-*" for version in promised]
    assert PROJECT["project"]["requires-python"] == f">={promised[0]}"
    assert settings["environment"]["SPECTAC_FAST_CUDA"] == "0"
    # Whatever the extension is linked against of torch must not be put into the wheel.
    extension = next((ROOT / "spectac_fast").glob("_C*.so"), None)
    if extension is not None and shutil.which("ldd"):
        linked = subprocess.run(["ldd", str(extension)], capture_output=True, text=True, check=True).stdout
        for library in re.findall(r"^\s*(lib(?:torch|c10)\w*\.so)", linked, re.MULTILINE):
            assert f"--exclude {library}" in settings["linux"]["repair-wheel-command"]


def test_workflows_and_templates_are_whole():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text())
    assert {"wheels", "sdist"} == set(workflow["jobs"])
    said = (ROOT / ".github" / "workflows" / "wheels.yml").read_text()
    for step in ("cibuildwheel==", "twine check --strict", "packaging/bill.py", "check\n", "SPECTAC_FAST_URL"):
        assert step in said
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem != "config":
            assert {"name", "description", "body"} <= set(form)
            assert any(part["type"] == "checkboxes" for part in form["body"]), "nobody sends patients by mistake"


def test_notices_name_all_that_is_used():
    notice = (ROOT / "NOTICE").read_text()
    extras = PROJECT["project"]["optional-dependencies"]
    named = ("node", "ray", "tensorboard", "nifti", "diffusers", "monai", "torchmetrics", "huggingface", "sr")
    lines = PROJECT["project"]["dependencies"] + [line for name in named for line in extras[name]]
    for line in lines:
        name = re.match(r"[\w-]+", line)[0]
        assert re.search(rf"\b{name}\b", notice), name
    assert PROJECT["project"]["license-files"] == ["LICENSE", "NOTICE"]


def test_the_package_page_has_absolute_links_where_the_repository_is_known():
    import runpy

    setup = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")
    text = (ROOT / "README.md").read_text()
    assert setup["described"](text, "") == text
    made = setup["described"](text, "https://example.org/who/what")
    targets = re.findall(r"\]\(([^)]+)\)", made) + re.findall(r'src="([^"]+)"', made)
    assert len(targets) > 20
    for target in targets:
        where = re.match(r"https://example\.org/who/what/(?:blob|raw)/main/([^#]+)", target)
        assert where or target.startswith(("https://", "http://", "#")), target
        assert where is None or (ROOT / where[1]).exists(), target
    assert 'src="https://example.org/who/what/raw/main/docs/patient.png"' in made
    assert setup["addresses"]("") == {}
    assert setup["addresses"]("https://example.org/who/what")["Issues"] == "https://example.org/who/what/issues"


def test_the_conformance_statement_says_what_the_node_offers():
    page = (ROOT / "docs" / "pages" / "guides" / "conformance.md").read_text()
    from spectac_fast.formats.dicom import NM_IMAGE_STORAGE

    node = (ROOT / "spectac_fast" / "node" / "receive.py").read_text()
    offered = set(re.findall(r"add_supported_context\((\w+)", node))
    assert offered == {"Verification", "NM_IMAGE_STORAGE"}
    assert str(NM_IMAGE_STORAGE) in page
    syntaxes = re.search(r"NM_IMAGE_STORAGE, \[([\w, ]+)\]", node)[1].split(", ")
    row = next(line for line in page.splitlines() if line.startswith("| SCP | Nuclear Medicine"))
    for syntax in syntaxes:
        assert re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=VR)(?=[A-Z])|(?<=RLE)(?=[A-Z])", " ", syntax) in row, syntax
    for flag in re.findall(r"`(--[a-z-]+)", page.partition("## Network")[2].partition("## Character")[0]):
        assert flag in [f for a in _serve()._actions for f in a.option_strings], flag


def _serve():
    commands = next(a for a in cli.build_parser("serve")._actions if a.dest == "command")
    return commands.choices["serve"]


def test_pages_of_the_repository_exist_for_a_first_release():
    for name in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md", "NOTICE", "LICENSE"):
        assert Path(ROOT, name).stat().st_size > 300, name


def test_owners_have_a_note_on_every_room():
    notes = (ROOT / "CONTRIBUTING.md").read_text().partition("## What owners look at")[2].partition("\n## ")[0]
    rooms = json.loads((ROOT / "docs" / "rooms.json").read_text())["rooms"]
    assert {name for name in rooms if not name.startswith("_")} <= set(re.findall(r"`(\w+)`", notes))
