"""The same networks, fast: folded convolutions, fused norms, low precision bodies, and batches of fixed sizes.
Imports `networks` and `ops`; what it computes is what the network computes, within rounding. A network that is not
known here runs as it is; a block that pays gets a twin in `blocks.py`.
"""
