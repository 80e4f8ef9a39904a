"""The words of the field that name things on disk and in tables, in their customary order."""

PHASES = ("stress", "rest")
PLANES = ("SA", "VLA", "HLA")
KINDS = ("NC", "AC", "TRUTH")
# What CT-AC would be without its errors: exact attenuation map and scatter, no noise, AC's reconstruction.
IDEAL = "IDEAL"
