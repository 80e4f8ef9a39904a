"""Models: a translator is a function NC -> AC (`translator`), found by name (`registry`), sure of itself or not
(`uncertainty`), and able to say why (`explain`). Imports the rooms below: `checkpoints`, `diffusion`, `reconstruct`,
`ops` and `cohort`. A new method is a file in `methods/`, of blocks in `networks/`, run fast by `engine/`.
"""
