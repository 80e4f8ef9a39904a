"""Studies: which files make one (`inputs`), what a study is (`study`), its geometry, count scale and seeds. Imports
`formats` only, and knows neither cohorts nor models. A new convention about counts or geometry, the same for every
model, belongs here.
"""
