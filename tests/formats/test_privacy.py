"""A name in every tag of a file: it is in none of the channels by which a run speaks, whatever becomes of the file."""

from __future__ import annotations

import copy
import json
import logging
import re
import warnings

import numpy as np
import pydicom
import pytest
from fake_study import heart, write_nc
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from spectac_fast.cli import main
from spectac_fast.data.acquisition import claim_of
from spectac_fast.errors import InputError
from spectac_fast.formats.dicom import quiet_pydicom, read_series

NAME = "GEHEIMRAT^WILHELM"
_NUMBERS = ("US", "SS", "UL", "SL", "FL", "FD", "OB", "OW", "OF", "OD", "OL", "OV", "AT", "UV", "SV")
_NOT_OF_A_DATA_SET = (0x0000, 0x0002, 0x0004, 0xFFFE)


def save(ds, path):
    # Of what is written here nobody speaks but pydicom.
    with quiet_pydicom():
        ds.save_as(path)


def name_in(ds, tag):
    """Put the name into one element, in a form that nobody may have looked at when it is written."""
    vr = dictionary_VR(tag).split(" or ")[0]
    if vr == "SQ":
        item = Dataset()
        for keyword in ("CodeValue", "CodeMeaning", "CodingSchemeDesignator", "LongCodeValue", "URNCodeValue"):
            name_in(item, tag_for_keyword(keyword))
        private_in(item)
        ds._dict[Tag(tag)] = DataElement(tag, "SQ", Sequence([item]))
        return
    raw = NAME.encode()[:16] if vr in _NUMBERS else (NAME + " " * (len(NAME) % 2)).encode()
    ds._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(raw), raw, 0, False, True)


def private_in(ds):
    for group, creator in ((0x0009, "GEMS_GENIE_1"), (0x0033, "SIEMENS MED NM"), (0x7001, "Picker NM"), (0x0041, NAME)):
        block = ds.private_block(group, creator, create=True)
        for number in (0x01, 0x10, 0x11, 0x12, 0x17, 0x20, 0x2C, 0x30):
            block.add_new(number, "LO", NAME)


def looked_at(repository):
    """Every tag whose keyword the sources name, and those of the files that are made of it."""
    words = set()
    for path in (repository / "spectac_fast").rglob("*.py"):
        words |= set(re.findall(r"[A-Z][A-Za-z]+", path.read_text()))
    return sorted(tag for tag in map(tag_for_keyword, words) if tag is not None and tag >> 16 not in _NOT_OF_A_DATA_SET)


@pytest.fixture
def silence(capfd, caplog):
    """Nothing that was said holds the name."""

    def check(*texts):
        said = capfd.readouterr()
        for text in (*texts, said.out, said.err, caplog.text):
            assert "GEHEIM" not in str(text)
            assert "WILHELM" not in str(text)

    with warnings.catch_warnings(record=True) as heard, caplog.at_level(logging.DEBUG):
        warnings.simplefilter("always")
        yield check
    assert [each for each in heard if "GEHEIM" in str(each.message)] == []


def asked(series):
    """Ask a header for everything, wherever it lies, as no reader does."""
    claim_of(series)
    waiting = [series.header]
    while waiting:
        some = waiting.pop()
        for tag in list(some.keys()):
            try:
                element = some[tag]
                str(element.value)
            except Exception:
                continue
            waiting += list(element.value) if element.VR == "SQ" else []
    copy.deepcopy(series.header)


@pytest.fixture
def everywhere(repository, tmp_path, rng, silence):
    """(a file that is read with the name in it wherever it can be, tags with which it is refused)."""
    path = tmp_path / "study" / "stress_SA.dcm"
    write_nc(path, heart(rng, (12, 24, 24)), patient_id="GEHEIMRAT")
    sound, refused = pydicom.dcmread(path), {}
    tags = looked_at(repository)
    accepted = []
    for tag in tags:
        ds = copy.deepcopy(sound)
        name_in(ds, tag)
        save(ds, path)
        try:
            asked(read_series(path))
        except InputError as reason:
            refused[tag] = str(reason)
        else:
            accepted.append(tag)
    # Of what nobody looks at, a few tags of every kind.
    for tag in (*accepted, *sorted(set(DicomDictionary) - set(tags))[::25]):
        if keyword_for_tag(tag) and tag >> 16 not in (*_NOT_OF_A_DATA_SET, 0x7FE0):
            name_in(sound, tag)
    private_in(sound)
    save(sound, path)
    # What is passed over while something sound stands elsewhere is refused once that is a name as well.
    while (reason := refusal(path)) is not None:
        named = next(tag for tag in accepted if tag in sound and keyword_for_tag(tag) in reason)
        refused[named] = reason
        del sound._dict[Tag(named)]
        save(sound, path)
    silence(*refused.values())
    return path, refused


def refusal(path):
    try:
        read_series(path)
    except InputError as reason:
        return str(reason)


def test_a_name_in_every_tag_is_in_no_channel(everywhere, tmp_path, silence):
    path, refused = everywhere
    # Some tags decide what a file is.
    assert 10 < len(refused) < 120
    silence(*refused.values())
    asked(read_series(path))
    row = tmp_path / "row.json"
    row.write_text(json.dumps({"format": 1, "model": "same", "slope": 1, "offset": 0, "gain": 1, "pixel_mm": 6.8}))
    out, page = tmp_path / "out", tmp_path / "page"
    study, model = ("-i", str(path.parent)), ("-m", str(row))
    # One of the tags says that attenuation was corrected.
    words = ["correct", *study, *model, "-o", str(out), "--kind", "nc", "--report", str(tmp_path / "run.json")]
    status = main(words)
    assert status == 0, (tmp_path / "run.json").read_text()
    assert main(["info", str(path)]) == 0
    assert main(["report", str(path), str(out), *model, "-o", str(page)]) == 0
    # What claims to be derived here and is another's.
    made = next(out.rglob("*_DL-AC.dcm"))
    silence()
    with quiet_pydicom():
        ds = pydicom.dcmread(made)
        ds.DerivationDescription = ds.DerivationDescription.replace("model same", f"model {NAME}")
    save(ds, made)
    assert main(["report", str(path), str(out), *model, "-o", str(page)]) == 0
    silence((tmp_path / "run.json").read_text(), (out / "spectac-manifest.jsonl").read_text())
    (html,) = page.glob("*.html")
    silence(html.read_text())


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "FrameOfReferenceUID", "PixelSpacing", "NumberOfFrames", "Rows"])
def test_what_meets_a_name_where_a_number_is_expected_does_not_repeat_it(tmp_path, rng, tag, silence):
    path = tmp_path / "SA.dcm"
    write_nc(path, heart(rng, (12, 24, 24)))
    ds = pydicom.dcmread(path)
    name_in(ds, tag_for_keyword(tag))
    save(ds, path)
    status = main(["correct", "-i", str(path), "-m", "identity", "-o", str(tmp_path / "out")])
    assert status == (0 if tag == "FrameOfReferenceUID" else 1)
    silence(np.array(sorted(tmp_path.rglob("*.jsonl"))))
