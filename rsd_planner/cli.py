"""`rsd`: the one entry point of all commands that are no ROS node.

Reads the command line, imports the chosen command alone (so that help is fast) and turns the
errors of users' mistakes into one sentence and exit code 2. Other errors are defects and keep
their traceback.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from rsd_planner.errors import CommandError, ConfigError, suggest

__all__ = ["main"]

_COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module, what it does)
    "demo": ("demo", "drive a bag through the real node and show everything"),
    "replay": ("replay", "run the planner over a bag without ROS; writes a bag and a report"),
    "play": ("play", "publish a bag into ROS"),
    "view": ("view", "show a running planner's reasoning and paths (only subscribes)"),
    "faults": ("faults", "hurt a planner node in twenty ways and time what it does"),
    "soak": ("soak", "drive a planner node for an hour and look for leaks and false alarms"),
    "sweep": ("sweep", "remove the shared memory that killed ROS processes left"),
    "bench": ("bench", "compare drafters on the same work"),
    "models": ("models", "list drafters and models"),
    "record": ("record", "record a simulated drive as a bag"),
    "data": ("data", "make training drives from the simulated world"),
    "train": ("train", "train the mini model"),
    "eval": ("eval", "evaluate a model on held-out drives"),
}

_EXAMPLES = """\
examples:
  rsd demo                                  the bundled drive through the real node
  rsd replay assets/bags/street_30s         the same drive without ROS
  rsd bench --json out/bench.json           what drafting saves, measured
  rsd play assets/bags/street_30s --clock   publish a bag for your own node
  rsd view                                  watch a planner that runs already

`rsd COMMAND --help` explains a command. A user's mistake ends with exit code 2.
"""

# Classes of users' mistakes whose modules are heavy. A module that was never imported has
# raised nothing, so it is only looked for among the imported ones.
_USER_ERRORS = (
    ("rsd_planner.models.checkpoint", "CheckpointError"),
    ("rsd_planner.bags", "BagError"),
    ("rsd_planner.viz.video", "VideoError"),
    ("rsd_planner.errors", "CommandError"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if not isinstance(error, _user_errors()):
            raise
        print(f"rsd: {error}", file=sys.stderr)
        return 2


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if words[0] == "--version":
        print(_version())
        return 0
    name = words[0]
    if name not in _COMMANDS:
        raise CommandError(
            f"There is no command '{name}'.{suggest(name, list(_COMMANDS))} "
            "`rsd --help` lists them."
        )
    module = importlib.import_module(f"rsd_planner.commands.{_COMMANDS[name][0]}")
    parser = argparse.ArgumentParser(
        prog=f"rsd {name}",
        description=module.__doc__,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    try:
        parsed = parser.parse_args(words[1:])
    except SystemExit as done:  # argparse has said what is wrong, or shown the help
        return int(done.code or 0)
    parsed.command_line = " ".join(["rsd", *words])
    return int(module.run(parsed))


def _overview() -> str:
    width = max(map(len, _COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {what}" for name, (_, what) in _COMMANDS.items())
    return (
        "usage: rsd COMMAND [options]\n\n"
        "A driving planner that verifies last tick's reasoning inside the prefill.\n\n"
        f"commands:\n{commands}\n\n{_EXAMPLES}"
    )


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"rsd_planner {version('rsd_planner')}"
    except PackageNotFoundError:
        return "rsd_planner (not installed)"


def _user_errors() -> tuple[type[Exception], ...]:
    classes: list[type[Exception]] = [CommandError, ConfigError]
    for module, name in _USER_ERRORS:
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, Exception):
            classes.append(found)
    return tuple(classes)


if __name__ == "__main__":
    sys.exit(main())
