"""What is measured on pairs of a department's own studies: every series corrected as `correct` does it, and told.

`phase` corrects one phase of a patient for the rows of a table, `segments` sets found segments against those of AC,
`seen` keeps what a statement needs of every phase, and `statement`, `page` and `text` make it: one sheet of paper.
"""
