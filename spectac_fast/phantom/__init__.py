"""Synthetic patients: who they are (`people`, `worldwide`), what is unlike the ordinary in them (`conditions` draw it,
`findings` hold it), what they are made of (`anatomy`, `heart`, `extras`), how a study is made (`protocol`; `drawn` at
random, `protocols` by name), and the making (`scan`, `simulate`). Imports `reconstruct` for the physics and writes no
files, which `cohort` does. A new kind of patient is drawn in `conditions` and built in `extras`.
"""
