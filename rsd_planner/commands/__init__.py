"""The commands of `rsd`, one module each.

A command module is cheap to import: it has `add_arguments(parser)` and `run(arguments)`, and
imports what is heavy inside of `run`. `run` returns the exit code.
"""
