"""Where the network runs: in batches of one size (`network`, `batcher`, `memory`), beside reading and writing in one
process (`pipeline`), or on many machines (`cluster`). They import what stands beside this folder. A new place to run
studies is a module here.
"""
