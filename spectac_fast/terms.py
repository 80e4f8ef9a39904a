"""The words of the field that name things on disk and in tables, in their customary order."""

PHASES = ("stress", "rest")
PLANES = ("SA", "VLA", "HLA")
KINDS = ("NC", "AC", "TRUTH")
