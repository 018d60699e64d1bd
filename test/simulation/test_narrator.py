"""The narrator on scenes made by hand."""

import math

import numpy as np
import pytest

from rsd_planner.simulation.classes import patch_bits
from rsd_planner.simulation.labels import LABEL_KINDS, LABEL_NAMES, LABELS, image_labels
from rsd_planner.simulation.narrator import (
    DECISIONS,
    MAX_WORDS,
    HazardView,
    LeadView,
    LightView,
    Narrator,
    View,
    count_words,
)
from rsd_planner.simulation.phrases import CAUSES, Phrases
from rsd_planner.simulation.scene import HazardKind, LightState, Weather
from rsd_planner.simulation.text_changes import changed_words, novel_frames, text_statistics
from rsd_planner.types import Decision


def tell(view: View, phrases: Phrases = Phrases.CLEAR) -> tuple[str, str, tuple[str, ...]]:
    """Text, decision and names of causes of a single view."""
    told = Narrator(phrases).tell(view)
    return told.text, told.decision, tuple(cause.name for cause in told.causes)


def hazard(
    kind: HazardKind, distance_m: float, side: str = "right", speed_mps: float = 0.0
) -> tuple[HazardView, ...]:
    """One hazard, shown by a van."""
    return (HazardView(kind, distance_m, side, speed_mps, "van"),)


def test_free_road_keeps_the_speed() -> None:
    text, decision, causes = tell(View(12.5, 0.0))
    assert decision == "keep"
    assert causes == ("road_free",)
    assert text.startswith("Keep the speed at 45 km/h")


def test_braking_lead_is_named_with_its_distance() -> None:
    text, decision, causes = tell(View(10.0, -1.5, LeadView("car", 15.0, 7.0, braking=True)))
    assert decision == "slow"
    assert causes == ("lead_braking",)
    assert "the lead car 15 m ahead is braking" in text


def test_lead_that_is_followed_sets_the_pace() -> None:
    text, decision, causes = tell(View(10.0, 0.0, LeadView("van", 21.0, 10.0, braking=False)))
    assert decision == "keep"
    assert causes == ("lead_ahead",)
    assert text.startswith("Keep the distance")
    assert "lead van 21 m ahead drives at 35 km/h" in text


@pytest.mark.parametrize(
    ("lead", "name"),
    [
        (LeadView("car", 20.0, 0.2, True), "lead_stopped"),
        (LeadView("car", 20.0, 9.0, True), "lead_braking"),
        (LeadView("car", 20.0, 7.0, False), "lead_closing"),
        (LeadView("car", 20.0, 9.0, False), "lead_ahead"),
        (LeadView("car", 28.0, 7.0, False), "lead_closing"),
        (LeadView("car", 28.0, 8.0, False), "lead_ahead"),  # it grows by half a pixel
        (LeadView("car", 60.0, 9.0, True), "road_free"),
        (LeadView("car", 60.0, 3.0, False), "road_free"),
    ],
)
def test_what_a_lead_is_a_cause_of(lead: LeadView, name: str) -> None:
    assert tell(View(10.0, 0.0, lead))[2] == (name,)


def test_red_light_stops_the_car_even_without_a_lead() -> None:
    text, decision, causes = tell(View(9.0, -2.0, light=LightView(LightState.RED, 21.0)))
    assert decision == "stop"
    assert causes == ("light_red",)
    assert "stop within 21 m" in text


def test_stopped_lead_before_a_red_light_comes_first() -> None:
    view = View(8.0, -2.0, LeadView("car", 12.0, 0.0, True), LightView(LightState.RED, 24.0))
    assert tell(view)[1:] == ("stop", ("lead_stopped", "light_red"))


def test_standing_before_red_waits_and_goes_with_green() -> None:
    narrator = Narrator(Phrases.CLEAR)
    waits = narrator.tell(View(0.0, 0.0, light=LightView(LightState.RED, 1.0)))
    goes = narrator.tell(View(0.0, 0.0, light=LightView(LightState.GREEN, 1.0)))
    assert (waits.decision, goes.decision) == ("wait", "accelerate")
    assert "just ahead is red" in waits.text
    assert goes.text.startswith("Start moving and accelerate to 5 km/h")


def test_braking_without_a_visible_cause_is_not_told() -> None:
    assert tell(View(10.0, -2.0))[1:] == ("keep", ("road_free",))


def test_a_red_light_is_named_once_it_matters() -> None:
    far, near = (tell(View(10.0, 0.0, light=LightView(LightState.RED, d))) for d in (62.0, 37.0))
    assert far[1:] == ("keep", ("road_free",))
    assert near[1:] == ("keep", ("light_red",))
    assert "35 m" in near[0]


def test_a_lead_that_crawls_is_not_told_to_stand() -> None:
    assert "5 km/h" in tell(View(6.0, -1.0, LeadView("car", 12.0, 0.6, False)))[0]


def test_amber_too_close_is_passed() -> None:
    view = View(13.0, -0.8, light=LightView(LightState.AMBER, 12.0))
    assert tell(view)[1:] == ("keep", ("light_amber",))


@pytest.mark.parametrize(
    "kind",
    [
        HazardKind.PEDESTRIAN_CROSSING,
        HazardKind.PEDESTRIAN_WAITING,
        HazardKind.CROSS_TRAFFIC,
        HazardKind.ONCOMING,
    ],
)
def test_who_goes_first_is_yielded_to(kind: HazardKind) -> None:
    slows = View(8.0, -1.5, hazards=hazard(kind, 20.0))
    assert tell(slows)[1:] == ("yield", (kind.value,))
    for distance_m in (5.0, 45.0):
        stands = View(0.0, 0.0, hazards=hazard(kind, distance_m))
        assert tell(stands)[1:] == ("yield", (kind.value,))


@pytest.mark.parametrize("kind", [HazardKind.CYCLIST, HazardKind.CUT_IN, HazardKind.CURVE])
def test_other_hazards_are_slowed_down_for(kind: HazardKind) -> None:
    view = View(10.0, -1.0, hazards=hazard(kind, 20.0, "left", 6.0))
    assert tell(view)[1:] == ("slow", (kind.value,))


def test_the_ego_may_gain_speed_behind_what_is_faster() -> None:
    cut_in = hazard(HazardKind.CUT_IN, 15.0, "left", 12.0)
    assert tell(View(8.0, 1.0, hazards=cut_in))[1] == "accelerate"
    assert tell(View(12.5, 1.0, hazards=cut_in))[1] == "keep"


def test_a_blocked_lane_is_gone_around_from_the_move_to_the_side_until_it_is_passed() -> None:
    narrator = Narrator(Phrases.CLEAR)

    def decision(distance_m: float, sideways_mps: float) -> str:
        blocked = hazard(HazardKind.BLOCKED_LANE, distance_m, "left")
        return narrator.tell(View(8.0, 0.0, hazards=blocked, sideways_mps=sideways_mps)).decision

    approach = [decision(30.0, 0.0), decision(22.0, 0.6), decision(8.0, 0.0), decision(2.0, -0.5)]
    after = narrator.tell(View(8.0, 0.0, sideways_mps=-0.5))
    assert approach == ["keep", "left", "left", "left"]
    assert after.decision == "keep"


def test_a_blocked_lane_that_cannot_be_passed_is_stopped_for() -> None:
    blocked = hazard(HazardKind.BLOCKED_LANE, 18.0, "")
    assert tell(View(8.0, -2.0, hazards=blocked))[1] == "stop"
    assert tell(View(0.0, 0.0, hazards=blocked))[1] == "wait"


def test_oncoming_traffic_beside_what_blocks_the_lane_is_yielded_to() -> None:
    blocked = hazard(HazardKind.BLOCKED_LANE, 15.0, "")
    oncoming = hazard(HazardKind.ONCOMING, 45.0, "left")
    assert tell(View(6.0, -2.0, hazards=blocked + oncoming))[1] == "yield"
    assert tell(View(0.0, 0.0, hazards=blocked + oncoming))[1] == "yield"


def test_setting_off_near_what_blocks_the_lane_is_going_around_it() -> None:
    cones = hazard(HazardKind.CONES, 14.0, "left")
    assert tell(View(0.0, 0.0, hazards=cones))[1] == "wait"
    assert tell(View(0.2, 1.2, hazards=cones))[1] == "left"
    assert tell(View(1.5, 1.8, hazards=cones))[1] == "left"


def test_standing_far_behind_a_queue_is_waiting() -> None:
    lead, light = LeadView("car", 26.0, 0.0, True), LightView(LightState.RED, 32.0)
    assert tell(View(0.0, 0.0, lead, light))[1] == "wait"
    assert tell(View(0.2, 1.0, lead))[1] == "accelerate"


def test_causes_are_told_nearest_first() -> None:
    cones = hazard(HazardKind.CONES, 30.0, "left")
    near, far = LeadView("car", 14.0, 8.0, False), LeadView("car", 35.0, 12.0, False)
    assert tell(View(12.0, 0.0, near, hazards=cones))[2] == ("lead_closing", "cones")
    assert tell(View(12.0, 0.0, far, hazards=cones))[2] == ("cones", "lead_ahead")


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
    lights = [None, *(LightView(state, d) for state in LightState for d in (1.0, 66.0))]
    dangers = [(), *(hazard(kind, d, "left", 12.0) for kind in HazardKind for d in (1.0, 20.0))]
    for lead in leads:
        for light in lights:
            for danger in dangers:
                for speed, acceleration in ((0.0, 0.0), (4.0, -2.0), (13.0, 0.0), (30.0, 1.5)):
                    view = View(speed, acceleration, lead, light, danger)
                    told = Narrator(phrases).tell(view)
                    assert 12 <= count_words(told.text) <= MAX_WORDS, told.text
                    assert told.decision in DECISIONS
                    assert told.causes


def test_the_weather_chooses_the_way_of_speaking() -> None:
    ways = [Phrases.of(weather) for weather in Weather]
    assert set(ways) == set(Phrases)
    assert len({tell(View(9.0, 0.0), way)[0] for way in ways}) == len(Phrases)


def test_decisions_are_those_of_the_planner() -> None:
    assert {name.upper() for name in DECISIONS} == set(Decision.__members__) - {"UNKNOWN"}


def test_patch_bits_need_three_pixels() -> None:
    classes = np.zeros((128, 256), dtype=np.uint8)
    classes[0:3, 0] = 9
    classes[16:18, 0] = 9
    bits = patch_bits(classes)
    assert bits.shape == (8, 16)
    assert bits[0, 0] == (1 | 1 << 9)
    assert bits[1, 0] == 1
    assert np.array_equal(patch_bits(np.stack([classes, classes]))[1], bits)


def test_image_labels_say_what_is_visible_and_nothing_of_the_rest() -> None:
    crossing = HazardView(HazardKind.PEDESTRIAN_CROSSING, 18.0, "left", 1.2)
    lead = LeadView("van", 12.0, 4.0, True)
    values = dict(zip(LABEL_NAMES, image_labels(View(8.0, -2.0, lead, None, (crossing,))),
                      strict=True))  # fmt: skip
    assert {name for name in CAUSES if values[name]} == {"pedestrian_crossing", "lead_braking"}
    assert values["pedestrian_crossing_distance_m"] == 18.0
    assert values["pedestrian_crossing_side"] == -1.0
    assert (values["lead_distance_m"], values["lead_speed_mps"]) == (12.0, 4.0)
    assert (values["lead_is_van"], values["lead_is_car"]) == (1.0, 0.0)
    assert math.isnan(values["light_distance_m"])
    assert math.isnan(values["curve_side"])


def test_image_labels_are_of_the_kinds_that_they_claim() -> None:
    view = View(0.2, 0.0, LeadView("car", 5.0, -0.1, True), LightView(LightState.RED, 9.0),
                tuple(h for kind in HazardKind for h in hazard(kind, 20.0)))  # fmt: skip
    assert len(set(LABEL_NAMES)) == len(LABELS)
    for label, value in zip(LABELS, image_labels(view), strict=True):
        assert label.kind in LABEL_KINDS
        allowed = {"binary": (0.0, 1.0), "side": (-1.0, 1.0)}.get(label.kind)
        assert value in allowed if allowed else value >= 0.0, label.name


def test_frames_within_a_second_of_a_change_are_novel() -> None:
    stamps = np.arange(12) * 200_000_000
    causes = [["road_free"]] * 4 + [["curve"]] * 8
    novel = novel_frames(stamps, causes)
    assert np.flatnonzero(novel).tolist() == [4, 5, 6, 7, 8, 9]
    assert not novel_frames(stamps, [["curve", "cones"], ["cones", "curve"]] * 6).any()


def test_statistics_of_texts() -> None:
    narrator = Narrator(Phrases.CLEAR)
    speeds = (10.0, 10.1, 14.0)
    told = [narrator.tell(View(speed, 0.0)) for speed in speeds]
    figures = text_statistics([told, told[:1]])
    assert figures.texts == 4
    assert figures.equal_share == 0.5
    assert figures.changed_words == pytest.approx(changed_words(told[1].text, told[2].text) / 2)
    assert figures.decisions == {"keep": 4}
    assert any("road_free 4" in line for line in figures.lines())
    assert changed_words("a b c d.", "a c x d.") == 1
    assert changed_words("a b.", "a b c d.") == changed_words("a b c d.", "a b.") == 2
