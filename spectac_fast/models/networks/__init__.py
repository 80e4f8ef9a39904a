"""Networks, and nothing but: every file is one nn.Module and its parts, under the published parameter names. They
import `ops` and each other, never a method. A new network gets a kind in `build.py`, by which configurations find
it.
"""
