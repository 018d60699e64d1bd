"""Reads a reasoning text: its decision, and the causes that it names with their quantities.

Made of the same tables of words as the narrator's texts. What cannot be read is passed over, so
a garbled text still gives the causes that are whole in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from rsd_planner.planning.decision import decision_of
from rsd_planner.simulation.phrases import (
    CLAUSES,
    CONNECTORS,
    DISTANCES,
    JOINTS,
    JUST_AHEAD,
    OPENINGS,
)
from rsd_planner.types import Decision

__all__ = ["ParsedCause", "ParsedReasoning", "parse_reasoning"]


@dataclass(frozen=True)
class ParsedCause:
    """A cause that a text names; attributes are those of `simulation.phrases.ATTRIBUTES`."""

    name: str
    attributes: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True)
class ParsedReasoning:
    """What was read of a text."""

    decision: Decision
    causes: tuple[ParsedCause, ...]  # in the text's order, each name once
    complete: bool  # the whole text was understood, up to its full stop


def parse_reasoning(text: str) -> ParsedReasoning:
    """The decision and causes of a text; never fails."""
    causes: dict[str, ParsedCause] = {}
    rest, end = [], 0
    for match in _CLAUSE.finditer(text):
        rest.append(text[end : match.start()])
        end = match.end()
        cause = _cause_of(match)
        causes.setdefault(cause.name, cause)
    rest.append(text[end:])
    opening, *joints, stop = rest if len(rest) > 1 else ["", ""]
    complete = (
        _OPENING.fullmatch(opening) is not None
        and all(joint in JOINTS for joint in joints)
        and stop == "."
        and len(causes) == len(rest) - 1
    )
    return ParsedReasoning(decision_of(text), tuple(causes.values()), complete)


def _pattern(template: str) -> str:
    """A regular expression for what a template can say."""
    pattern = re.escape(template)
    for name, what in _PLACEHOLDERS.items():
        pattern = pattern.replace(re.escape(f"{{{name}}}"), what)
    return pattern


def _cause_of(match: re.Match[str]) -> ParsedCause:
    index = int(str(match.lastgroup).removeprefix("clause"))
    name, reader = _READERS[index]
    found = reader.fullmatch(match.group())
    assert found is not None, "a clause is read by the pattern that found it"
    attributes: dict[str, str | int] = {}
    for key, value in found.groupdict().items():
        if key.startswith("distance") and value is not None:
            attributes["distance_m"] = int(value)
        elif key == "near" and value is not None:
            attributes["distance_m"] = 1
        elif value is not None:
            attributes[key] = int(value) if key == "speed_kmh" else value
    return ParsedCause(name, attributes)


_NUMBER = r"[0-9]{1,3}"
_AT = "|".join(
    re.escape(way).replace(re.escape("{distance_m}"), rf"(?P<distance{i}>{_NUMBER})")
    for i, way in enumerate(DISTANCES)
)
_PLACEHOLDERS = {
    "at": rf"(?:{_AT}|(?P<near>{re.escape(JUST_AHEAD)}))",
    "kind": r"(?P<kind>car|van|truck|cyclist)",
    "side": r"(?P<side>left|right)",
    "speed_kmh": rf"(?P<speed_kmh>{_NUMBER})",
    "speed": _NUMBER,
    "goal": _NUMBER,
    "room": _NUMBER,
}
_READERS = tuple(
    (name, re.compile(_pattern(template)))
    for name, templates in CLAUSES.items()
    for template in templates
)
# All clauses at once; names within them would clash, so that each is read a second time.
_CLAUSE = re.compile(
    "|".join(
        rf"(?P<clause{i}>\b{re.sub(r'[?]P<[a-z_0-9]+>', '?:', reader.pattern)}\b)"
        for i, (_, reader) in enumerate(_READERS)
    )
)
_OPENING = re.compile(
    "(?:{})(?:{})".format(
        "|".join(_pattern(t) for templates in OPENINGS.values() for t in templates),
        "|".join(re.escape(connector) for connector in CONNECTORS),
    )
)
