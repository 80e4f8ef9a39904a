"""Stress or rest: codes, then the series, then the study."""

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from spectac_fast.formats.evidence.phase import phase_of

NOWHERE = Path("/a/b/c.dcm")


def phase(path=NOWHERE, coded=None, **values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return phase_of(ds, Path(path), coded)


def test_the_series_comes_before_the_study():
    found = phase(SeriesDescription="REPOS SA", StudyDescription="STRESS TEST")
    assert (found.phase, found.assumed) == ("rest", False)


def test_the_study_counts_where_the_series_is_silent_and_that_is_said():
    found = phase(SeriesDescription="SA IRNC001", StudyDescription="MPI STRESS")
    assert (found.phase, found.assumed) == ("stress", True)
    assert "StudyDescription" in found.clause


@pytest.mark.parametrize("unknown", ["SA ZZYZX", "SA 심장", "odpoczywając"])
def test_words_nobody_here_understands_leave_the_study_unheard(unknown):
    assert phase(SeriesDescription=unknown, StudyDescription="STRESS TEST").phase is None


def test_a_code_that_the_name_contradicts_counts_and_that_is_said():
    assert phase(coded="stress", SeriesDescription="STRESS SA").phase == "stress"
    assert not phase(coded="stress", SeriesDescription="SA").assumed
    found = phase(coded="stress", SeriesDescription="REST SA")
    assert (found.phase, found.assumed) == ("stress", True)
    assert "but its Series Description rest" in found.clause
    # Names of files are changed more easily than codes.
    assert phase("/study/rest.dcm", coded="stress").phase == "stress"


def test_names_of_file_and_folder_count_last():
    assert phase("/study/rest/SA.dcm").phase == "rest"
    assert phase("/rest/stress_SA.dcm").phase == "stress"
    assert phase("/rest/x.dcm", SeriesDescription="Belastung").phase == "stress"
    assert phase().phase is None


def test_vendors_state_of_the_heart():
    ds = Dataset()
    ds.add_new(0x70430010, "LO", "ADAC_IMG")
    ds.add_new(0x70431000, "SH", "Rest")
    assert phase_of(ds, NOWHERE, None).phase == "rest"
