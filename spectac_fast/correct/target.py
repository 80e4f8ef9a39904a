"""Which AC is wanted, where a model has learnt several: CT-AC's own, with its scatter left in, or what CT-AC would be
without its errors.
"""

from __future__ import annotations

from spectac_fast.data.facts import AS_IDEAL, KEEPS_SCATTER, StudyFacts
from spectac_fast.errors import UsageError
from spectac_fast.formats.series import Told
from spectac_fast.models.translator import Translator, facts_of


def wanted_facts(told: Told) -> StudyFacts:
    """What a model is told of the AC that is wanted."""
    return StudyFacts(keeps_scatter=told.keep_scatter, ideal=told.ideal)


def wanted_settings(told: Told) -> dict[str, str]:
    """What derived objects say of it: nothing of AC as it usually is."""
    return ({"scatter": "kept"} if told.keep_scatter else {}) | ({"noise": "removed"} if told.ideal else {})


def check_wanted(told: Told, translator: Translator) -> None:
    """UsageError for an AC that the model has not learnt, or that nobody has: the ideal one holds no scatter."""
    known = facts_of(translator)
    if told.keep_scatter and KEEPS_SCATTER not in known:
        raise UsageError(
            f"keep scatter: expected a model that learnt from AC of both kinds, such as bbdm, found {translator.name}."
        )
    if told.ideal and AS_IDEAL not in known:
        raise UsageError(
            f"ideal: expected a model that learnt from images without noise too, such as bbdm, found {translator.name}."
        )
    if told.ideal and told.keep_scatter:
        raise UsageError("ideal: expected AC without scatter, found that scatter is to be kept.")
