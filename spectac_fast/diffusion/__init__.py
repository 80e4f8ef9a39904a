"""The bridge and its cousins on the host: processes, solvers as tables of numbers, samplers, CUDA graphs. Imports
`ops` alone, so that a sampler works in any project. A new solver is a new way to fill a table in `solvers.py`; no
kernel and no branch comes with it.
"""
