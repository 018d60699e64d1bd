"""The parser reads exactly what the narrator says, and survives everything else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_planner.evaluation.causes import ParsedCause, parse_reasoning
from rsd_planner.planning.decision import decision_of
from rsd_planner.simulation.narrator import (
    DECISIONS,
    HazardView,
    LeadView,
    LightView,
    Narration,
    Narrator,
    View,
)
from rsd_planner.simulation.phrases import OPENINGS, Phrases
from rsd_planner.simulation.scene import HazardKind, LightState
from rsd_planner.types import Decision

kinds = st.sampled_from(("car", "van", "truck"))
speeds = st.floats(0.0, 36.0)
leads = st.builds(LeadView, kinds, st.floats(0.1, 70.0), speeds, st.booleans())
lights = st.builds(LightView, st.sampled_from(LightState), st.floats(0.0, 70.0))


@st.composite
def hazards(draw: st.DrawFn) -> tuple[HazardView, ...]:
    """Up to three of different kinds, nearest first."""
    drawn = draw(st.lists(st.sampled_from(HazardKind), max_size=3, unique=True))
    may_stop = (HazardKind.BLOCKED_LANE, HazardKind.CONES, HazardKind.CYCLIST)
    views = [
        HazardView(
            kind,
            draw(st.floats(0.0, 70.0)),
            draw(st.sampled_from(("left", "right", "") if kind in may_stop else ("left", "right"))),
            draw(speeds),
            draw(kinds),
        )
        for kind in drawn
    ]
    return tuple(sorted(views, key=lambda view: view.distance_m))


views = st.builds(
    View,
    st.one_of(st.just(0.0), speeds),
    st.floats(-4.0, 3.0),
    st.one_of(st.none(), leads),
    st.one_of(st.none(), lights),
    hazards(),
    st.sampled_from((-0.8, 0.0, 0.8)),
)


def agree(told: Narration) -> None:
    """The parser gives what the narrator meant."""
    read = parse_reasoning(told.text)
    assert read.decision.name.lower() == told.decision, told.text
    assert read.causes == tuple(ParsedCause(c.name, c.attributes) for c in told.causes), told.text
    assert read.complete, told.text


@given(st.lists(views, min_size=1, max_size=4), st.sampled_from(Phrases))
@settings(max_examples=400, deadline=None)
def test_everything_that_the_narrator_says_is_read(seen: list[View], phrases: Phrases) -> None:
    narrator = Narrator(phrases)
    for view in seen:
        agree(narrator.tell(view))


@pytest.mark.parametrize("phrases", list(Phrases))
@pytest.mark.parametrize("key", list(OPENINGS))
def test_every_opening_is_read_as_its_decision(key: str, phrases: Phrases) -> None:
    opening = OPENINGS[key][phrases.value].format(speed=35, goal=20, room=12)
    assert decision_of(opening).name.lower() == key.split(".")[0]


def test_every_decision_has_an_opening() -> None:
    assert {key.split(".")[0] for key in OPENINGS} == set(DECISIONS)


@given(st.text(max_size=200))
def test_any_text_is_survived(text: str) -> None:
    assert not parse_reasoning(text).complete


@given(views, st.integers(0, 200), st.sampled_from(Phrases))
@settings(deadline=None)
def test_a_text_cut_short_gives_what_is_whole(view: View, length: int, phrases: Phrases) -> None:
    text = Narrator(phrases).tell(view).text
    whole, cut = parse_reasoning(text), parse_reasoning(text[:length])
    assert cut.causes == whole.causes[: len(cut.causes)]
    assert cut.complete == (length >= len(text))


def test_garbage_between_causes_is_passed_over() -> None:
    read = parse_reasoning(
        "Slow down from 30 to 20 km/h because purple the lead van 18 m ahead is braking "
        "the of and the traffic light 30 m ahead is red and and."
    )
    assert read.decision is Decision.SLOW
    assert read.causes == (
        ParsedCause("lead_braking", {"kind": "van", "distance_m": 18}),
        ParsedCause("light_red", {"distance_m": 30}),
    )
    assert not read.complete


def test_a_cause_named_twice_counts_once_and_is_not_complete() -> None:
    read = parse_reasoning(
        "Keep 30 km/h because the road ahead is free and the road ahead is free."
    )
    assert [cause.name for cause in read.causes] == ["road_free"]
    assert not read.complete
