"""The rows of a table whose answers are known."""

from fake_cohort import FakeTranslator

from spectac_fast.evaluate.table import variants


def fake_models():
    return {
        "identity": FakeTranslator("identity"),
        "scale": FakeTranslator("scale", slope=1.02, intercept=0.02),
        "linear": FakeTranslator("linear", slope=1.05, intercept=0.05),
        "bbdm": FakeTranslator("bbdm", slope=1.01, intercept=0.01, noise=0.01),
    }


def fake_rows(names=("identity", "scale", "linear", "bbdm")):
    every = fake_models()
    return variants.expand(list(names), every.__getitem__, steps=6, samples=8)
