"""One module per subcommand of `spectac`, each with `add_arguments(parser)` and `run(args) -> int`.

A module imports the standard library only at its top, so that parsing the command line stays instant; torch, numpy and
pydicom are imported inside `run`.
"""
