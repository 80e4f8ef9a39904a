"""From NC studies to corrected ones: one study in memory (`study`), many files on disk (`files`)."""

from spectac_fast.correct.files import Report, correct_files, find_studies
from spectac_fast.correct.study import correct_study, slice_seeds

__all__ = ["Report", "correct_files", "correct_study", "find_studies", "slice_seeds"]
