"""The heart by regions: where the ventricle lies, its polar map, 17 segments, normal limits, scores of known
defects. Imports `cohort` for what is known of a patient. A new regional figure starts from `segments`.
"""
