"""The narrator on scenes made by hand."""

import numpy as np
import pytest

from rsd_planner.simulation.labels import patch_bits
from rsd_planner.simulation.narrator import (
    DECISIONS,
    LeadView,
    LightView,
    Narrator,
    View,
    count_words,
)
from rsd_planner.simulation.phrases import Phrases
from rsd_planner.simulation.scene import LightState
from rsd_planner.types import Decision


def tell(view: View, phrases: Phrases = Phrases.CLEAR) -> tuple[str, str, tuple[str, ...]]:
    """Text, decision and names of causes of a single view."""
    told = Narrator(phrases).tell(view)
    return told.text, told.decision, tuple(cause.name for cause in told.causes)


def test_free_road_keeps_the_speed() -> None:
    text, decision, causes = tell(View(12.5, 0.0))
    assert decision == "keep"
    assert causes == ("road_free", "lane_straight")
    assert text.startswith("Keep the speed at 45 km/h")


def test_braking_lead_is_named_with_its_distance() -> None:
    text, decision, causes = tell(View(10.0, -1.5, LeadView("car", 15.0, 7.0, braking=True)))
    assert decision == "slow"
    assert causes == ("lead_braking", "gap_closing")
    assert "the lead car 15 m ahead is braking and the gap is closing" in text


def test_lead_that_is_followed_sets_the_pace() -> None:
    text, decision, causes = tell(View(10.0, 0.0, LeadView("van", 21.0, 10.0, braking=False)))
    assert decision == "keep"
    assert causes[0] == "lead_steady"
    assert "lead van 21 m ahead drives steadily at 35 km/h" in text


def test_red_light_stops_the_car_even_without_a_lead() -> None:
    text, decision, causes = tell(View(9.0, -2.0, light=LightView(LightState.RED, 21.0)))
    assert decision == "stop"
    assert causes == ("light_red",)
    assert "stop within 21 m" in text


def test_stopped_lead_before_a_red_light_comes_first() -> None:
    view = View(8.0, -2.0, LeadView("car", 12.0, 0.0, True), LightView(LightState.RED, 24.0))
    _, decision, causes = tell(view)
    assert decision == "stop"
    assert causes == ("lead_stopped", "light_red")


def test_standing_before_red_waits_and_goes_with_green() -> None:
    narrator = Narrator(Phrases.CLEAR)
    waits = narrator.tell(View(0.0, 0.0, light=LightView(LightState.RED, 1.0)))
    goes = narrator.tell(View(0.0, 0.0, light=LightView(LightState.GREEN, 1.0)))
    assert (waits.decision, goes.decision) == ("wait", "accelerate")
    assert "just ahead is red" in waits.text
    assert goes.text.startswith("Start moving and accelerate to 5 km/h")


def test_braking_without_a_visible_cause_is_not_told() -> None:
    assert tell(View(10.0, -2.0))[1] == "keep"


def test_a_red_light_far_ahead_is_named_but_nothing_is_done_yet() -> None:
    text, decision, causes = tell(View(10.0, 0.0, light=LightView(LightState.RED, 62.0)))
    assert decision == "keep"
    assert causes[0] == "free_until_red"
    assert "60 m" in text


def test_amber_too_close_is_passed() -> None:
    _, decision, causes = tell(View(13.0, 0.0, light=LightView(LightState.AMBER, 12.0)))
    assert decision == "keep"
    assert "amber_too_close" in causes


def test_small_changes_of_a_distance_do_not_change_the_text() -> None:
    narrator = Narrator(Phrases.CLEAR)
    texts = {
        narrator.tell(View(10.0, 0.0, LeadView("car", gap, 10.0, False))).text
        for gap in (19.6, 20.4, 19.4, 20.6, 19.7)
    }
    assert len(texts) == 1


@pytest.mark.parametrize("phrases", list(Phrases))
def test_every_text_is_of_the_right_length(phrases: Phrases) -> None:
    leads = [None, LeadView("car", 3.0, 0.0, True), LeadView("truck", 18.0, 9.0, True),
             LeadView("van", 60.0, 14.0, False), LeadView("car", 9.0, 12.0, False)]  # fmt: skip
    lights = [None, *(LightView(state, d) for state in LightState for d in (1.0, 26.0, 66.0))]
    for lead in leads:
        for light in lights:
            for speed in (0.0, 4.0, 13.0):
                for acceleration in (-2.0, 0.0, 1.5):
                    for bend in ("", "left"):
                        view = View(speed, acceleration, lead, light, bend)
                        told = Narrator(phrases).tell(view)
                        assert 12 <= count_words(told.text) <= 45, told.text
                        assert told.decision in DECISIONS
                        assert told.causes


def test_decisions_are_those_of_the_planner() -> None:
    assert {name.upper() for name in DECISIONS} <= set(Decision.__members__)


def test_patch_bits_need_three_pixels() -> None:
    classes = np.zeros((128, 256), dtype=np.uint8)
    classes[0:3, 0] = 9
    classes[16:18, 0] = 9
    bits = patch_bits(classes)
    assert bits.shape == (8, 16)
    assert bits[0, 0] == (1 | 1 << 9)
    assert bits[1, 0] == 1
