"""How good corrected images are: `table/` for cohorts, `regional/` for hearts, `report/` for one study, `figures/`
for eyes. Imports `correct`, `models`, `cohort` and the rooms below these; bootstrap and provenance serve them all. A
new score is a column of `table/`, or of `regional/` where it is about the heart's walls.
"""
