"""The results table: scores of slices and patients, rows per model, intervals and tests, as Markdown and JSON.
Imports `regional` and `figures` beside what all of `evaluate` may. A new column starts in `score` and ends in
`render`.
"""
