"""How evidence is weighed."""

import pytest

from spectac_fast.formats.evidence.header import Evidence, Weight
from spectac_fast.formats.evidence.image import UNKNOWN, Opinion
from spectac_fast.formats.evidence.judge import judge

CODED, WORDS, HINT = Weight.CODED, Weight.WORDS, Weight.HINT
NC, AC = Opinion("NC", "the image looks not corrected", -5.0), Opinion("AC", "the image looks corrected", 5.0)
SURE_NC, SURE_AC = Opinion("NC", "", -20.0, sure=True), Opinion("AC", "", 20.0, sure=True)
OPEN = Opinion(None, "the image leaves it open", 0.0)


def said(*evidence):
    return [Evidence(kind, weight, f"{weight.name} says {kind}") for kind, weight in evidence]


@pytest.mark.parametrize(
    ("evidence", "image", "kind"),
    [
        # Words alone, and with an image that agrees or tells nothing.
        ([("NC", WORDS)], NC, "NC"),
        ([("NC", WORDS)], OPEN, "NC"),
        ([("NC", WORDS)], UNKNOWN, "NC"),
        ([("AC", WORDS)], AC, "AC"),
        ([("AC", CODED)], UNKNOWN, "AC"),
        # An image against the words: only a sure one opens the case, and never closes it for NC.
        ([("NC", WORDS)], AC, "NC"),
        ([("NC", WORDS)], SURE_AC, None),
        ([("AC", WORDS)], SURE_NC, "AC"),
        # A code that says no correction is written for nothing else.
        ([("NC", CODED)], SURE_AC, "NC"),
        ([("NC", CODED), ("AC", WORDS)], SURE_AC, None),
        # Words against codes, and words against words.
        ([("AC", CODED), ("NC", WORDS)], NC, None),
        ([("AC", WORDS), ("NC", WORDS)], NC, None),
        # Hints count where nothing else does, and a text that names both counts for neither.
        ([("NC", WORDS), ("AC", HINT)], NC, "NC"),
        ([("AC", HINT)], OPEN, "AC"),
        ([("NC", HINT), ("AC", HINT)], NC, None),
        ([("both", WORDS), ("NC", CODED)], NC, "NC"),
        ([("both", WORDS)], NC, "NC"),
        ([("both", WORDS)], OPEN, None),
        # The image alone.
        ([], NC, "NC"),
        ([], AC, "AC"),
        ([], OPEN, None),
        ([], UNKNOWN, None),
    ],
)
def test_weighing(evidence, image, kind):
    assert judge(said(*evidence), image).kind == kind


def test_every_piece_of_evidence_is_a_reason():
    verdict = judge(said(("NC", WORDS), ("AC", HINT)), NC)
    assert verdict.because == "WORDS says NC; HINT says AC; the image looks not corrected"
    assert not verdict.notes


def test_what_was_assumed_is_noted():
    assert "look of the image alone" in judge([], NC).notes[0]
    assert judge(said(("AC", WORDS)), SURE_NC).notes
    assert judge(said(("NC", CODED)), SURE_AC).notes


def test_without_a_header_what_is_unknown_may_be_assumed_and_that_is_said():
    verdict = judge([], UNKNOWN, assumed="NC")
    assert verdict.kind == "NC"
    assert "its name does not tell" in verdict.notes[0]
    assert judge([], OPEN, assumed="NC").kind is None
    assert judge([], AC, assumed="NC").kind == "AC"


@pytest.mark.parametrize("told", ["NC", "AC"])
def test_the_user_has_the_last_word(told):
    other = {"NC": "AC", "AC": "NC"}[told]
    verdict = judge(said((other, CODED)), SURE_AC, told)
    assert verdict.kind == told
    assert f"CODED says {other}" in verdict.notes[0]
    assert judge(said((told, CODED)), UNKNOWN, told).notes == ()
