"""Which rows a table has for which model."""

import pytest
from fake_cohort import FakeTranslator
from fake_rows import fake_rows

from spectac_fast.data.facts import StudyFacts
from spectac_fast.errors import UsageError
from spectac_fast.evaluate.table import variants


def test_a_diffusion_model_gives_estimates_and_a_sample():
    rows = fake_rows()
    assert [row.label for row in rows] == [
        "identity",
        "scale",
        "linear",
        "bbdm, 1 evaluation",
        "bbdm, 1 evaluation, planes combined",
        "bbdm, mean of 8 x 6-step samples",
        "bbdm, mean of 8 x 6-step samples, planes combined",
        "bbdm, one 6-step sample",
    ]
    assert [row.options for row in rows[3:]] == [
        *[{"steps": 1, "samples": 1}] * 2,
        *[{"steps": 6, "samples": 8}] * 2,
        {"steps": 6, "samples": 1},
    ]
    assert [row.is_baseline for row in rows] == [True] * 3 + [False] * 5
    assert [row.together == variants.COMBINED for row in rows[3:]] == [False, True, False, True, False]


def test_files_are_told_apart_by_their_names():
    files = {f"runs/{k}/bbdm_{k}.safetensors": FakeTranslator("bbdm") for k in "ab"}
    files["x/l.json"] = FakeTranslator("linear")
    rows = variants.expand(list(files), files.__getitem__, steps=4, samples=1)
    assert [row.label for row in rows] == [
        "bbdm_a, 1 evaluation",
        "bbdm_a, 1 evaluation, planes combined",
        "bbdm_a, one 4-step sample",
        "bbdm_b, 1 evaluation",
        "bbdm_b, 1 evaluation, planes combined",
        "bbdm_b, one 4-step sample",
        "l",
    ]
    assert [row.is_baseline for row in rows] == [False] * 6 + [True]


def test_models_named_twice_or_not_at_all_are_refused():
    for names in (["identity", "identity"], []):
        with pytest.raises(UsageError, match=r"--models"):
            fake_rows(names)


def test_rows_of_every_kind_of_model():
    kinds = {"cpdm": "cpdm64", "ddpm": "ddpm64", "vqgan": "vqgan64", "pix2pix": "pix2pix64"}
    files = {f"runs/{file}.safetensors": FakeTranslator(name) for name, file in kinds.items()}
    files["runs/ddpm64.safetensors"].defaults = {"steps": 50}
    rows = variants.expand(list(files), files.__getitem__, steps=6, samples=8)
    assert [(row.label, row.options) for row in rows if row.together == variants.SEPARATE] == [
        ("cpdm64, 1 evaluation", {"steps": 1, "samples": 1}),
        ("cpdm64, mean of 8 x 6-step samples", {"steps": 6, "samples": 8}),
        ("cpdm64, one 6-step sample", {"steps": 6, "samples": 1}),
        ("ddpm64, 1 evaluation", {"steps": 1, "samples": 1, "solver": "ddim"}),
        ("ddpm64, mean of 8 x 50-step samples", {"steps": 50, "samples": 8}),
        ("ddpm64, one 50-step sample", {"steps": 50, "samples": 1}),
        ("vqgan64, round trip of AC", {}),
        ("pix2pix64", {}),
    ]
    assert {row.label for row in rows if row.given == "AC"} == {"vqgan64, round trip of AC"}
    estimates = ("1 evaluation", "mean of 8 x {}-step samples")
    combined = [f"{name}, {text.format(n)}" for name, n in (("cpdm64", 6), ("ddpm64", 50)) for text in estimates]
    labels = [row.label for row in rows if row.together == variants.COMBINED]
    assert labels == [f"{label}, planes combined" for label in [*combined, "pix2pix64"]]


def test_models_that_have_learnt_several_are_asked_for_one():
    models = {"net": FakeTranslator("pix2pix"), "told": FakeTranslator("pix2pix")}
    models["told"].facts = ("sex", "keeps_scatter", "ideal")
    rows = variants.expand(list(models), models.__getitem__, steps=6, samples=1)
    wanted = StudyFacts(keeps_scatter=True, sharper=True)
    asked = variants.with_wanted(rows, wanted)
    assert [row.label for row in asked] == [
        "net",
        "net, planes combined",
        "told, AC keeps its scatter",
        "told, planes combined, AC keeps its scatter",
    ]
    assert [row.wanted.keeps_scatter for row in asked] == [None, None, True, True]
    assert variants.with_wanted(rows, StudyFacts()) == rows
    with pytest.raises(UsageError, match="expected one that has learnt AC with resolution recovery, such as bbdm"):
        variants.with_wanted(rows, StudyFacts(sharper=True))
    *_, usual, ideal = variants.with_ideal(asked)
    assert usual == asked[-1]
    assert ideal.label == "told, planes combined, AC keeps its scatter, ideal"
    assert (ideal.wanted.ideal, ideal.wanted.keeps_scatter) == (True, False)
    assert len(variants.with_ideal(asked)) == len(asked) + 1
