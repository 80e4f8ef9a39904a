"""From NC studies to corrected ones: one study in memory (`study`), any number through one model (`corrector`), on
disk and resumed (`stages`, `store`, `manifest`). Imports `models`, `data` and `formats`. A new place to run studies
is an engine beside `pipeline` and `cluster`.
"""

from spectac_fast.correct.corrector import Corrector
from spectac_fast.correct.files import carry_out, correct_files
from spectac_fast.correct.outcome import Corrected
from spectac_fast.correct.report import Report
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
