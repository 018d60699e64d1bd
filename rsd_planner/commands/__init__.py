"""The commands behind `rsd`: each module has `add_arguments(parser)` and `run(args) -> int`."""
