"""Nothing is lost without a word in a search: what is not taken is a sentence, and each file comes once."""

from __future__ import annotations

import os
import shutil
import struct
import zipfile
from pathlib import Path

import pydicom
import pytest
from fake_study import Times, heart, write_nc, write_study

from spectac_fast import read_study
from spectac_fast.correct import correct_files
from spectac_fast.data.inputs import find_studies
from spectac_fast.data.search import files_below, matches
from spectac_fast.errors import InputError, NoInputError


@pytest.fixture
def night(tmp_path, rng):
    for case in ("a", "b"):
        write_study(tmp_path / "in" / case, rng, planes=("SA",), phases=("stress",), study_key=case)
    return tmp_path / "in"


def found_paths(found):
    return sorted(source.path for study in found.studies for source in study)


@pytest.fixture
def forbidden(monkeypatch):
    """Make a folder unreadable and a file too, for root as well, whom chmod does not stop."""
    closed = set()
    scandir, opened = os.scandir, open

    def scan(path):
        if Path(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def read(path, *args, **options):
        if isinstance(path, Path) and path in closed:
            raise OSError(5, "Input/output error", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr("os.scandir", scan)
    monkeypatch.setattr("builtins.open", read)
    return closed


def test_what_cannot_be_read_is_a_failed_item(night, tmp_path, forbidden):
    shutil.copytree(night / "a", night / "closed")
    shutil.copy(night / "a" / "stress_SA_NC.dcm", night / "b" / "broken.dcm")
    forbidden |= {night / "closed", night / "b" / "broken.dcm"}
    found = find_studies([night])
    assert len(found.studies) == 2
    assert sorted(found.failed) == [
        f"{night / 'b' / 'broken.dcm'}: cannot be read (Input/output error).",
        f"{night / 'closed'}: cannot be searched (Permission denied).",
    ]
    report = correct_files([night], tmp_path / "out", Times())
    assert len(report.failed) == 2
    with pytest.raises(InputError, match="cannot be"):
        read_study(night)


def test_a_folder_that_goes_away_and_a_link_to_nothing_are_sentences(night):
    (night / "gone").symlink_to(night / "nowhere")
    found = find_studies([night])
    assert len(found.studies) == 2
    assert found.failed == [f"{night / 'gone'}: cannot be searched (No such file or directory)."]
    shutil.rmtree(night)
    with pytest.raises(NoInputError):
        find_studies([night])


def test_what_is_dicom_by_its_name_alone_is_mentioned(night):
    """A copy that was cut off may be empty."""
    whole = (night / "a" / "stress_SA_NC.dcm").read_bytes()
    for name, length in (("empty.dcm", 0), ("cut.DCM", 131), ("bare.ima", 0), ("._mac.dcm", 40), ("notes.txt", 100)):
        (night / name).write_bytes(whole[:length])
    found = find_studies([night])
    assert len(found.studies) == 2
    assert found.failed == [
        f"{night / name}: expected DICOM, as its name says, found a file that does not begin so."
        for name in ("bare.ima", "cut.DCM", "empty.dcm")
    ]


@pytest.mark.parametrize("method", [8, 12, 14, 93, 99])
def test_a_member_that_is_packed_otherwise_than_it_says_costs_only_itself(night, tmp_path, method):
    path = tmp_path / "night.zip"
    with zipfile.ZipFile(path, "w") as made:
        for case in "ab":
            made.write(night / case / "stress_SA_NC.dcm", f"{case}.dcm")
    raw = bytearray(path.read_bytes())
    raw[8:10] = raw[(at := raw.index(b"PK\1\2") + 10) : at + 2] = method.to_bytes(2, "little")
    path.write_bytes(raw)
    found = find_studies([path])
    assert [[source.path.name for source in study] for study in found.studies] == [["b.dcm"]]
    (sentence,) = found.failed
    assert sentence.startswith(f"{path / 'a.dcm'}: cannot be read from its archive (")


def test_a_name_that_is_not_in_the_letters_it_claims_costs_nothing(night, tmp_path):
    path = tmp_path / "night.zip"
    with zipfile.ZipFile(path, "w") as made:
        for case in "ab":
            made.write(night / case / "stress_SA_NC.dcm", f"{case}-ä.dcm")
    path.write_bytes(b"before it" + path.read_bytes().replace("a-ä".encode(), b"a-\xff\xfe"))
    before = path.read_bytes()
    report = correct_files([path], tmp_path / "out", Times())
    assert (len(report.written), report.failed) == (2, [])
    assert path.read_bytes() == before


def test_an_archive_in_a_folder_is_mentioned(night):
    shutil.make_archive(night / "b" / "more", "zip", night / "a")
    found = find_studies([night])
    assert len(found.studies) == 2
    assert found.skipped == [
        f"{night / 'b' / 'more.zip'}: left out, since an archive is opened where it is named; "
        "name the file itself to have it corrected."
    ]


def test_what_is_no_file_is_mentioned_and_not_waited_for(night):
    os.mkfifo(night / "a" / "x.dcm")
    (night / "b" / "z.dcm").symlink_to(os.devnull)
    found = find_studies([night])
    assert len(found.studies) == 2
    assert found.failed == [
        f"{night / each}: cannot be read (a pipe, a socket or a device)." for each in ("a/x.dcm", "b/z.dcm")
    ]


def test_links_are_followed_and_lead_to_each_file_once(night, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    shutil.move(night / "b", elsewhere)
    (night / "0-link").symlink_to(elsewhere)
    (night / "a" / "loop").symlink_to(night)
    (night / "a" / "again").symlink_to(night / "a")
    os.link(night / "a" / "stress_SA_NC.dcm", night / "a" / "hard.dcm")
    expected = [night / "0-link" / "stress_SA_NC.dcm", night / "a" / "hard.dcm"]
    found = find_studies([night])
    assert len(found_paths(found)) == 2
    assert found.failed == []
    assert {path.stat().st_ino for path in found_paths(found)} == {path.stat().st_ino for path in expected}
    # The same by patterns, however many ways lead there.
    for pattern in (night / "**" / "*.dcm", night / "**" / "*", night / "**" / "**" / "*.dcm", night / "**"):
        again = find_studies([pattern])
        assert len(found_paths(again)) == 2, pattern
        assert again.failed == []


@pytest.mark.parametrize(
    "pattern", ["*/*.dcm", "**/*.dcm", "**/stress*", "[ab]/*.dcm", "*", "**", "a/**/x*.dcm", "?/*_?A_*", "c/*"]
)
def test_patterns_mean_what_glob_means(tmp_path, pattern):
    import glob

    for name in ("a/stress_SA.dcm", "a/deep/er/x1.dcm", "b/x2.dcm", "a/x0.dcm", ".hidden/x3.dcm", "b/.x4.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    expected = {Path(each) for each in glob.glob(str(tmp_path / pattern), recursive=True)}
    assert set(matches(tmp_path / pattern, pytest.fail)) == expected


def test_files_keep_the_path_they_have_themselves(tmp_path):
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "file").write_bytes(b"")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    (tmp_path / "b").symlink_to(tmp_path / "z" / "file")
    assert files_below(tmp_path, pytest.fail) == [tmp_path / "z" / "file"]


def test_a_hidden_file_is_listed(night, rng):
    write_nc(night / ".partial.dcm", heart(rng), study_key="c")
    found = find_studies([night])
    assert len(found.studies) == 2
    (sentence,) = found.skipped
    assert "begins with a dot" in sentence
    assert len(find_studies([night / ".partial.dcm"]).studies) == 1


def test_one_bad_member_costs_only_itself(night, tmp_path):
    one, other = (night / case / "stress_SA_NC.dcm" for case in "ab")
    path = tmp_path / "night.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("good.dcm", ".hidden.dcm", "../out.dcm", "/abs.dcm", "w\\in.dcm", "twice.dcm", "locked.dcm"):
            file.writestr(zipfile.ZipInfo(name), one.read_bytes())
        with pytest.warns(UserWarning, match="Duplicate"):
            file.write(other, "twice.dcm")
        file.writestr(zipfile.ZipInfo("a//odd.dcm"), other.read_bytes())
        file.writestr("notes.txt", "no DICOM")
        file.writestr(".DS_Store", "no DICOM")
        offset = file.getinfo("locked.dcm").header_offset
    content = bytearray(path.read_bytes())
    # The flag of encryption, in the member's own header and in the directory's.
    content[offset + 6] |= 1
    entry = content.index(b"locked.dcm", offset + 40) - 46
    assert content[entry : entry + 4] == b"PK\x01\x02"
    (flags,) = struct.unpack_from("<H", content, entry + 8)
    struct.pack_into("<H", content, entry + 8, flags | 1)
    path.write_bytes(content)
    found = find_studies([path])
    assert found_paths(found) == [path / "good.dcm"]
    said = "\n".join(found.failed)
    for name in (".hidden.dcm", "out.dcm", "abs.dcm", "w\\in.dcm", "twice.dcm", "locked.dcm", "odd.dcm"):
        assert name in said, name
    assert "(encrypted)" in said
    assert "notes" not in said


def test_a_long_name_is_shortened_and_stays_its_own(tmp_path, rng):
    (tmp_path / "in").mkdir()
    names = ["n" * 247 + each + ".dcm" for each in "12"] + ["ä" * 120 + ".dcm"]
    for number, name in enumerate(names):
        write_nc(tmp_path / "short.dcm", heart(rng), study_key=str(number))
        (tmp_path / "short.dcm").rename(tmp_path / "in" / name)
    report = correct_files([tmp_path / "in"], tmp_path / "out", Times())
    assert report.failed == []
    assert len({path.name for path in report.written}) == 3
    for path in report.written:
        assert len(os.fsencode(path.name)) < 240
        assert path.name.endswith("_DL-AC.dcm")
        pydicom.dcmread(path)
    assert correct_files([tmp_path / "in"], tmp_path / "out", Times()).failed == []


def test_an_output_that_cannot_have_its_place_stays_with_its_study(night, tmp_path):
    (tmp_path / "out" / "a" / "stress_SA_NC_DL-AC.dcm").mkdir(parents=True)
    report = correct_files([night], tmp_path / "out", Times())
    assert [path.parent.name for path in report.written] == ["b"]
    (sentence,) = report.failed
    assert "found a folder, which is never replaced" in sentence


@pytest.mark.parametrize("path", ["x" * 5000 + ".dcm", "a\0b.dcm", "x" * 300 + "/*.dcm"])
def test_impossible_names_are_sentences(tmp_path, path):
    try:
        found = find_studies([tmp_path / path])
    except NoInputError:
        return
    assert found.studies == []
    assert found.failed


def test_output_within_the_input_does_nothing_the_second_time(night):
    first = correct_files([night], night / "out", Times())
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first.written}
    second = correct_files([night], night / "out", Times())
    assert second.failed == []
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in before} == before
    assert len(list((night / "out").rglob("*.dcm"))) == len(before)
