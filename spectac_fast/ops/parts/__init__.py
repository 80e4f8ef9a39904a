"""Parts of the engine's algorithms, compiled for the CPU alone (csrc/engine): operators that no user calls, without a
page, a back end to choose or checks of their own beyond what keeps memory safe.
"""
