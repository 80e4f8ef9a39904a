"""What a header says about itself, on data sets as vendors write them."""

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from spectac_fast.formats.evidence.header import (
    Weight,
    computed_doubts,
    correction_evidence,
    emission_doubts,
    series_texts,
)


def header(**values):
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def kinds(ds, weight=None):
    return {each.kind for each in correction_evidence(ds) if weight in (None, each.weight)}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"CorrectedImage": ["UNIF", "ATTN"]}, {"AC"}),
        ({"CorrectedImage": "ATTN"}, {"AC"}),
        ({"CorrectedImage": ["UNIF", "COR", "NCO", "NRGY", "LIN", "SCAT", "MOTN", "DECY"]}, set()),
        ({"CorrectedImage": None}, set()),
        ({"AttenuationCorrectionMethod": "CTAC-SG"}, {"AC"}),
        ({"AttenuationCorrectionMethod": "NONE"}, {"NC"}),
        ({"AttenuationCorrectionMethod": "not applied"}, {"NC"}),
        ({"ImageComments": "$MultProj$1$ReconCorr$ACSCRR$ReconFilter$None"}, {"AC"}),
        ({"ImageComments": "$MultProj$1$ReconCorr$NC$ReconFilter$None"}, {"NC"}),
        ({"ImageComments": "$MultProj$1$ReconCorr$SCRR$ReconFilter$None"}, set()),
    ],
)
def test_coded_attributes(values, kind):
    assert kinds(header(**values), Weight.CODED) == kinds(header(**values)) == kind


@pytest.mark.parametrize(("value", "kind"), [("122726", "AC"), ("122728", "AC"), ("122729", "NC"), ("121322", None)])
def test_codes_of_the_method(value, kind):
    code = header(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning="")
    ds = header(DerivationCodeSequence=[code])
    assert kinds(ds) == ({kind} if kind else set())


def test_a_series_names_itself_in_its_own_attributes():
    assert kinds(header(SeriesDescription="STRESS IRACRRSC"), Weight.WORDS) == {"AC"}
    assert kinds(header(ImageID="RestNC"), Weight.WORDS) == {"NC"}
    assert kinds(header(ProtocolName="MPI AC"), Weight.HINT) == {"AC"}
    assert kinds(header(ImageType=["DERIVED", "SECONDARY", "RECON TOMO", "EMISSION", "AC"]), Weight.WORDS) == {"AC"}
    assert kinds(header(ReconstructionMethod="OSEM NC"), Weight.WORDS) == {"NC"}
    local = header(CodeValue="1", CodingSchemeDesignator="99LOCAL", CodeMeaning="Attenuation corrected")
    assert kinds(header(DerivationCodeSequence=[local]), Weight.WORDS) == {"AC"}
    # The study is about both kinds, and a name of a person about none.
    assert not kinds(header(StudyDescription="MPI WITH AC", PatientName="AC^AC", OperatorsName="AC"))


@pytest.mark.parametrize("creator", ["GEMS_GENIE_1", None])
@pytest.mark.parametrize(("name", "kind"), [("STRESS_EM_IRACRR", "AC"), ("STRESS_EM_IRNC", "NC")])
def test_ge_results_tell_it_in_a_private_element_only(creator, name, kind):
    ds = header(Manufacturer="GE MEDICAL SYSTEMS", SeriesDescription="Volumetrix MI RESULTS")
    if creator:
        ds.add_new(0x00110010, "LO", creator)
    ds.add_new(0x00111012, "UN" if creator else "LO", name.encode() if creator else name)
    assert kinds(ds, Weight.WORDS) == {kind}
    (evidence,) = correction_evidence(ds)
    assert "(0011,1012)" in evidence.clause


def test_a_private_element_that_nobody_has_published_is_a_hint():
    ds = header(SeriesDescription="SA")
    ds.add_new(0x00250010, "LO", "HOUSE OF CAMERAS")
    ds.add_new(0x00251007, "LO", "RECON WITH ATTENUATION CORRECTION")
    ds.add_new(0x00251008, "OB", b"AC")
    ds.add_new(0x00251009, "LT", "no AC " * 1000)
    assert kinds(ds, Weight.HINT) == kinds(ds) == {"AC"}


@pytest.mark.parametrize(("flag", "kind"), [(0, set()), (1, {"AC"}), (2, {"AC"})])
def test_siemens_attenuation_flag(flag, kind):
    ds = header()
    ds.add_new(0x00550010, "LO", "SIEMENS MED NM")
    ds.add_new(0x0055108C, "SS", flag)
    assert kinds(ds) == kind


def test_becquerel_per_ml_hints_at_the_correction():
    unit = header(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM", CodeMeaning="Bq/ml")
    ds = header(RealWorldValueMappingSequence=[header(MeasurementUnitsCodeSequence=[unit])])
    assert kinds(ds, Weight.HINT) == {"AC"}
    unit.CodeValue = "{counts}"
    assert not kinds(ds)


@pytest.mark.parametrize(
    ("values", "doubted"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]}, False),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "TRANSMISSION"]}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION", "MUMAP"]}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "RECON TOMO", "CTMAP"]}, True),
        ({"ImageType": ["DERIVED", "SECONDARY", "RECON TOMO", "MU_MAP"]}, True),
        ({"SeriesDescription": "ATT MAP SA"}, True),
        ({"SeriesDescription": "STRESS SA AC"}, False),
        ({"ImageID": "umap"}, True),
        ({"DerivationDescription": "without CT or transmission scan"}, False),
        ({"Units": "1CM"}, True),
        ({"RealWorldValueMappingSequence": [header(MeasurementUnitsCodeSequence=[header(CodeValue="/cm")])]}, True),
        ({"RescaleType": "HU"}, True),
        ({"Units": "CNTS"}, False),
    ],
)
def test_emission_is_told_from_transmission(values, doubted):
    assert bool(emission_doubts(header(**values))) is doubted


def test_clauses_hold_no_value_as_it_stands():
    ds = header(SeriesDescription="DOE JANE AC", ProtocolName="Doe no AC", CorrectedImage=["ATTN", "DOE"])
    ds.add_new(0x00111012, "LO", "DOE_EM_IRAC")
    told = " ".join(each.clause for each in correction_evidence(ds)).upper()
    assert "DOE" not in told
    assert "JANE" not in told


def test_texts_of_a_series_come_with_their_names():
    ds = header(SeriesDescription="SA", ImageID="x")
    assert series_texts(ds) == [("Series Description", "SA"), ("Image ID", "x")]


def test_counts_of_one_state_are_told_from_what_was_computed():
    assert computed_doubts(header(SeriesDescription="SA STRESS-REST SUBTRACTION"))
    assert computed_doubts(header(ImageType=["DERIVED", "PRIMARY", "RECON TOMO", "DIFFERENCE"]))
    assert not computed_doubts(header(SeriesDescription="STRESS SA", DerivationDescription="DEW subtraction"))


def test_a_private_element_that_its_dictionary_cannot_read_says_nothing(tmp_path):
    ds = header(SeriesDescription="STRESS SA AC")
    ds.add_new(0x00330010, "LO", "SIEMENS MED NM")
    ds.add_new(0x00331011, "UN", b"Flash3D AC ")
    ds.save_as(tmp_path / "x", implicit_vr=True, little_endian=True)
    assert kinds(dcmread(tmp_path / "x", force=True)) == {"AC"}
