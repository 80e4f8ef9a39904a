"""What becomes of files by the evidence: `correct` and `info` on the bundled patient, its headers changed."""

import pydicom
import pytest

from spectac_fast import cli
from spectac_fast.data.demo import unpack
from spectac_fast.data.study import read_nc_series
from spectac_fast.errors import InputError, NotApplicableError
from spectac_fast.formats.dicom import read_series
from spectac_fast.formats.series import Told


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    unpack(folder)
    return folder


@pytest.fixture
def study(demo, tmp_path):
    """Makes a file of one of the patient's, its header changed."""

    def make(source="stress_SA_NC", name="x", words=None, **values):
        ds = pydicom.dcmread(demo / f"{source}.dcm")
        if words is not None:
            ds.SeriesDescription, ds.CorrectedImage = words, None
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(tmp_path / f"{name}.dcm")
        return tmp_path / f"{name}.dcm"

    return make


@pytest.fixture
def correct(tmp_path, capsys):
    def run(*words):
        status = cli.main(["correct", "-m", "identity", "-o", str(tmp_path / "out"), "-i", *map(str, words)])
        return status, " ".join(capsys.readouterr())

    return run


@pytest.mark.parametrize(
    "words", ["STRESS SA Attenuation Correction", "SA ATT CORR", "IRACRRSC", "OSEMAC", "SA A/C", "SA korrigiert", "AC-"]
)
def test_no_spelling_of_corrected_is_corrected_again(study, words):
    with pytest.raises(NotApplicableError, match="already attenuation-corrected"):
        read_nc_series(study("stress_SA_AC", words=words))


@pytest.mark.parametrize(
    "words", ["STRESS SA w/o AC", "SA without AC", "AC off", "SA NAC", "sans CA", "ohne AK", "TAC", "SA cardiac", ""]
)
def test_what_is_not_corrected_is_taken(study, words):
    series = read_nc_series(study(words=words))
    # Where no word tells, the image does, and that is said.
    assert bool(series.notes) == (words in ("TAC", "SA cardiac", ""))


def test_the_image_finds_ac_where_no_word_tells(study):
    for source in ("stress_SA_AC", "stress_VLA_AC", "rest_HLA_AC"):
        with pytest.raises(NotApplicableError, match="the image looks corrected"):
            read_nc_series(study(source, words="Series 2", ImageID=""))


def test_ge_results_are_told_apart_by_a_private_element(study):
    for name, taken in (("STRESS_EM_IRACRR", False), ("STRESS_EM_IRNC", True)):
        path = study("stress_SA_NC" if taken else "stress_SA_AC", words="Volumetrix MI RESULTS")
        ds = pydicom.dcmread(path)
        ds.private_block(0x0011, "GEMS_GENIE_1", create=True).add_new(0x12, "LO", name)
        ds.save_as(path)
        assert read_series(path).attenuation_corrected is not taken


def test_named_alone_it_is_refused_and_in_a_folder_listed(study, correct, tmp_path):
    nc, doubtful = study(), study(name="y", words="STRESS SA", CorrectedImage=["ATTN"], ImageID="NC")
    status, said = correct(doubtful)
    assert status == 1
    assert "found no agreement" in said
    assert "--kind nc or --kind ac" in said
    status, said = correct(tmp_path)
    assert status == 0
    assert f"skipped: {doubtful}" in said
    assert [path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".dcm"] == [f"{nc.stem}_DL-AC.dcm"]


def test_the_user_has_the_last_word(study, correct, caplog):
    path = study(words="STRESS SA IRAC")
    assert correct(path)[0] == 1
    assert correct(path, "--kind", "nc")[0] == 0
    assert "taken as NC because the user says so, although its Series Description says IRAC" in caplog.text
    with pytest.raises(NotApplicableError, match="the user says AC"):
        read_nc_series(study(), told=Told(kind="AC"))


def test_transmission_is_no_emission(study):
    path = study(ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "TRANSMISSION"])
    with pytest.raises(NotApplicableError, match="its Image Type says TRANSMISSION"):
        read_nc_series(path)
    # Whether attenuation was corrected is another question than what was imaged.
    with pytest.raises(NotApplicableError, match="its Image Type says TRANSMISSION"):
        read_nc_series(path, told=Told(kind="NC"))
    with pytest.raises(NotApplicableError, match="ATT MAP"):
        read_nc_series(study(words="ATT MAP SA"))


def test_the_phase_is_the_series_own(study):
    values = {"AcquisitionContextSequence": None, "StudyDescription": "STRESS TEST"}
    assert read_series(study(words="REPOS SA IRNC", **values)).phase == "rest"
    series = read_series(study(words="SA IRNC", **values))
    assert series.phase == "stress"
    assert "StudyDescription" in series.notes[0]
    unknown = study(words="SA IRNC ZZYZX", **values)
    with pytest.raises(InputError, match="--phase says it"):
        read_series(unknown)
    assert read_series(unknown, told=Told(phase="rest")).phase == "rest"


def test_info_says_what_it_is_and_why(study, capsys):
    path = study("stress_SA_AC", words="SA IRNC")
    assert cli.main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "evidence: its Series Description says IRNC" in out
    assert "evidence: the image looks corrected" in out
    assert cli.main(["info", str(path), "--kind", "nc", "--phase", "rest"]) == 0
    out = capsys.readouterr().out
    assert ": NC rest SA," in out
    assert "would be corrected" in out
    assert "note: taken as rest because the user says so, although its Patient State says stress" in out
