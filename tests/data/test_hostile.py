"""Hostile inputs of every kind, many at once: no traceback, nothing half written, and no file without a word."""

from __future__ import annotations

import collections
import json
import os
import zipfile

import numpy as np
import pytest
from fake_study import edit, heart, write_nc
from mutants import mutant

from spectac_fast.cli import main
from spectac_fast.outputs import Kind
from spectac_fast.terminal import visible


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "SA.dcm"
    write_nc(path, heart(np.random.default_rng(6), (12, 24, 24)))
    return path.read_bytes()


def put(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return [path]


def damaged(folder, sound, dice, out):
    """Bytes that begin as DICOM does: others in a folder are no business of ours."""
    _, content = mutant(sound, dice)
    return put(folder / "m.dcm", content[:128].ljust(128, b"\0") + b"DICM" + content[132:])


def cut(folder, sound, dice, out):
    return put(folder / "c.dcm", sound[: dice.integers(132, len(sound))])


def long_name(folder, sound, dice, out):
    letter = str(dice.choice(["x", "ä", "心"]))
    return put(folder / (letter * (251 // len(letter.encode())) + ".dcm")[-251:], sound)


def ugly_name(folder, sound, dice, out):
    letters = [
        "\x1b[31m",
        "\n",
        "\r",
        "\x07",
        "\u202e",
        "\udcff",
        "\x9b",
        " ",
        "'",
        "*",
        "[",
        "%s",
        "\\",
        "{pseudonym}",
    ]
    return put(folder / ("a" + "".join(dice.choice(letters, 3)) + ".dcm"), sound)


def link_to_nothing(folder, sound, dice, out):
    path = folder / "l.dcm"
    path.symlink_to(folder / "none")
    return [path]


def link_in_a_circle(folder, sound, dice, out):
    (folder / "again").symlink_to(folder)
    return put(folder / "s.dcm", sound)


def hidden(folder, sound, dice, out):
    return put(folder / ".h.dcm", sound)


def unreadable(folder, sound, dice, out):
    (path,) = put(folder / "u.dcm", sound)
    path.chmod(0)
    return [path]


def archive(folder, sound, dice, out):
    """A sound member, and beside it one that is encrypted, damaged, named twice, hidden or leads out."""
    path, kind = folder / "z.zip", int(dice.integers(5))
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a/SA.dcm", sound)
        made.writestr({3: ".h.dcm", 4: "../../o.dcm"}.get(kind, "b.dcm"), sound)
    raw = bytearray(path.read_bytes())
    at, central = raw.rindex(b"PK\3\4"), raw.rindex(b"PK\1\2")
    if kind == 0:
        raw[at + 6] |= 1
        raw[central + 8] |= 1
    elif kind == 1:
        raw[at + 1000 : at + 1100] = dice.bytes(100)
    elif kind == 2:
        del raw[-int(dice.integers(1, 40)) :]
    path.write_bytes(raw)
    return [path]


def foreign_output(folder, sound, dice, out):
    (out / folder.name).mkdir(parents=True)
    (out / folder.name / "f_DL-AC.dcm").write_bytes(b"another's")
    return put(folder / "f.dcm", sound)


def output_that_is_a_folder(folder, sound, dice, out):
    (out / folder.name / "g_DL-AC.dcm").mkdir(parents=True)
    return put(folder / "g.dcm", sound)


def one_name_for_two(folder, sound, dice, out):
    return put(folder / "t.dcm", sound) + put(folder / "t.DCM", sound)


def twins(folder, sound, dice, out):
    paths = put(folder / "a.dcm", sound) + put(folder / "b.dcm", sound)
    edit(paths[1], lambda ds: setattr(ds, "ImageComments", "edited"))
    return paths


def disc(folder, sound, dice, out):
    return put(folder / "DICOMDIR", b"\0" * 128 + b"DICM" + dice.bytes(int(dice.integers(1, 400))))


def pipe(folder, sound, dice, out):
    """With the name of a file: who opens it waits without end."""
    os.mkfifo(folder / "p.dcm")
    return [folder / "p.dcm"]


def device(folder, sound, dice, out):
    (folder / "d.dcm").symlink_to(str(dice.choice(["/dev/zero", "/dev/null"])))
    return [folder / "d.dcm"]


def dicom_by_its_name_alone(folder, sound, dice, out):
    """What a copy leaves that was cut off early."""
    return put(folder / str(dice.choice(["e.dcm", "e.DCM", "e.ima"])), sound[: int(dice.choice([0, 1, 131]))])


def archive_in_a_folder(folder, sound, dice, out):
    with zipfile.ZipFile(folder / "f.zip", "w") as made:
        made.writestr("SA.dcm", sound)
    return [folder / "f.zip"]


def packed_otherwise(folder, sound, dice, out):
    """A member whose method is another than it says, beside a sound one."""
    path = folder / "o.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("a.dcm", sound)
        made.writestr("b.dcm", sound)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\1\2") + 10
    raw[8:10] = raw[at : at + 2] = int(dice.choice([8, 12, 14, 93, 99])).to_bytes(2, "little")
    path.write_bytes(raw)
    return [path]


def nested(folder, sound, dice, out):
    at = sound.index(b"\x08\x00\x16\x00UI")
    level = b"\x08\x00\x15\x11SQ\0\0" + b"\xff" * 4 + b"\xfe\xff\x00\xe0" + b"\xff" * 4
    return put(folder / "n.dcm", sound[:at] + level * int(dice.integers(100, 20_000)))


KINDS = (
    damaged, cut, long_name, ugly_name, link_to_nothing, link_in_a_circle, hidden, unreadable, archive, foreign_output,
    output_that_is_a_folder, one_name_for_two, twins, disc, pipe, device, dicom_by_its_name_alone, archive_in_a_folder,
    packed_otherwise, nested,
)  # fmt: skip


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.night)])
def test_every_hostile_input_is_mentioned_and_none_ends_the_run(tmp_path, sound, count, capfd, figures):
    source, out, report = tmp_path / "in", tmp_path / "out", tmp_path / "run.json"
    files, made = [], collections.Counter()
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        folder = source / f"case-{number}"
        folder.mkdir(parents=True)
        files += kind(folder, sound, np.random.default_rng([5, number]), out)
        made[kind.__name__] += 1
    row = {"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}
    (tmp_path / "row.json").write_text(json.dumps(row))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    # Archives are opened where they are named.
    archives = [path for path in files if path.suffix == ".zip" and path.name != "f.zip"]
    words = ["correct", "-i", source, *archives, "-m", tmp_path / "row.json", "-o", out, "--report", report]
    status = main([str(word) for word in words])
    said = capfd.readouterr()
    assert status == 1
    assert "Traceback" not in said.err + said.out
    assert all(map(str.isprintable, said.err.splitlines()))
    content = json.loads(report.read_text())
    sources = {path for each in content["studies"] for path in each["sources"]}
    told = "\n".join(visible(text) for each in content["studies"] for text in each["skipped"] + each["failed"])
    unmentioned = [path for path in files if str(path) not in sources and visible(path) not in told]
    assert [path for path in unmentioned if path not in archives] == []
    # Of an archive the members are.
    assert [path for path in unmentioned if not any(each.startswith(f"{path}/") for each in sources)] == []
    assert {path: path.read_bytes() for path in before} == before
    for path in out.rglob("*.dcm"):
        assert path in before or path.is_dir() or Kind.OBJECT.is_own(path.read_bytes())
    assert not [path for path in out.rglob(".*") if path.is_file()]
    figures(
        f"{count} hostile inputs of {len(made)} kinds, {len(files)} files: 0 tracebacks, 0 unmentioned; "
        f"{content['files_written']} files corrected, {content['failed']} sentences, {content['files_skipped']} skipped"
    )
