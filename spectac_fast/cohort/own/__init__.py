"""NC/AC pairs of a department as they lie in an archive's export: DICOM and NIfTI, in any folders.

`matching` finds which series are pairs and says why others are none; `aligned` brings AC onto the voxels of NC;
`studies` reads the pairs as a cohort, each on its own pixels, and `grid` as one on common pixels, which training needs.
Kinds are judged and series lined up where the report has it done: in `formats.evidence` and `data.lineup`.
"""
