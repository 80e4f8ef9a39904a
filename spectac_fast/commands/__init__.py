"""One module per subcommand of `spectac`, each with `add_arguments(parser)` and `run(args) -> int`: `studies/` what is
done with patients' studies, `research/` what is done with cohorts, methods and checkpoints. A command may import every
room; none imports a command. A module imports the standard library only at its top, so that parsing the command line
stays instant; torch, numpy and pydicom are imported inside `run`. Who adds a command writes its module and its line in
`cli.COMMANDS`.
"""
