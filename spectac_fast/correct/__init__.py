"""From NC studies to corrected ones: one study in memory (`study`), any number through one model (`corrector`)."""

from spectac_fast.correct.corrector import Corrector
from spectac_fast.correct.files import carry_out, correct_files
from spectac_fast.correct.report import Report
from spectac_fast.correct.stages import Corrected
from spectac_fast.correct.study import correct_study, correct_study_with_std, slice_seeds

__all__ = [
    "Corrected",
    "Corrector",
    "Report",
    "carry_out",
    "correct_files",
    "correct_study",
    "correct_study_with_std",
    "slice_seeds",
]
