"""Parts of the engine's algorithms, compiled for the CPU alone (csrc/engine): operators that no user calls, without a
page, a back end to choose or checks of their own beyond what keeps memory safe.
"""

from spectac_fast._op import Op

reaches_compiled = Op.reaches_compiled

__all__ = ["reaches_compiled"]
