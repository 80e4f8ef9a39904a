"""Which AC is wanted, where a model has learnt several: with its scatter left in, or by a reconstruction that recovers
resolution.
"""

from __future__ import annotations

from spectac_fast.data.facts import KEEPS_SCATTER, SHARPER, StudyFacts
from spectac_fast.errors import UsageError
from spectac_fast.formats.series import Told
from spectac_fast.models.translator import Translator, facts_of


def wanted_facts(told: Told) -> StudyFacts:
    """What a model is told of the AC that is wanted."""
    return StudyFacts(keeps_scatter=told.keep_scatter, sharper=told.sharper)


def wanted_settings(told: Told) -> dict[str, str]:
    """What derived objects say of it: nothing of AC as it usually is."""
    said = (
        ("scatter", "kept", told.keep_scatter),
        ("resolution", "recovered", told.sharper),
    )
    return {name: value for name, value, wanted in said if wanted}


def check_wanted(told: Told, translator: Translator) -> None:
    """UsageError for an AC that the model has not learnt."""
    known = facts_of(translator)
    for wanted, fact, what, learnt in (
        (told.keep_scatter, KEEPS_SCATTER, "keep scatter", "AC of both kinds"),
        (told.sharper, SHARPER, "sharper", "AC of both resolutions"),
    ):
        if wanted and fact not in known:
            raise UsageError(
                f"{what}: expected a model that learnt from {learnt}, such as bbdm, found {translator.name}."
            )
