"""A bad plan is rejected with the figure that condemns it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drives import state_at
from results import T0_NS, result_at, straight

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.checks import PlanFaultKind, check_plan, disagreement
from rsd_planner.types import FinishReason, Trajectory

SETTINGS = PlannerSettings.from_mapping({})
NOW = state_at(T0_NS + 300_000_000, yaw_rate_radps=0.0)


def kinds(trajectory: Trajectory) -> set[PlanFaultKind]:
    return {f.kind for f in check_plan(result_at(trajectory=trajectory), NOW, SETTINGS)}


def test_a_good_plan_passes() -> None:
    assert check_plan(result_at(), NOW, SETTINGS) == ()
    assert check_plan(result_at(trajectory=straight(8.0, -3.0)), NOW, SETTINGS) == ()
    standing = straight(0.0)
    still = dataclasses.replace(NOW, position_m=state_at(T0_NS, yaw_rate_radps=0.0).position_m)
    assert check_plan(result_at(trajectory=standing), still, SETTINGS) == ()


@pytest.mark.parametrize("field", ["position_m", "speed_mps", "curvature_1pm", "heading_rad"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_number_that_is_not_finite_rejects_the_plan(field: str, value: float) -> None:
    good = straight()
    bad = getattr(good, field).copy()
    bad.flat[40] = value
    assert kinds(dataclasses.replace(good, **{field: bad})) == {PlanFaultKind.NOT_FINITE}


def test_wrong_shapes_are_rejected() -> None:
    short = dataclasses.replace(straight(), heading_rad=np.zeros(3))
    assert kinds(short) == {PlanFaultKind.SHAPE}
    assert kinds(dataclasses.replace(straight(), position_m=np.array(7.0))) == {PlanFaultKind.SHAPE}


def test_a_plan_for_another_place_is_rejected() -> None:
    elsewhere = dataclasses.replace(
        straight(), position_m=straight().position_m + np.array([0, 5.0, 0])
    )
    assert PlanFaultKind.DISPLACED in kinds(elsewhere)
    swerved = dataclasses.replace(NOW, position_m=NOW.position_m + np.array([0, 2.0, 0]))
    faults = check_plan(result_at(), swerved, SETTINGS)
    assert [f.kind for f in faults] == [PlanFaultKind.DISPLACED]
    assert "2.0 m from where the car is now" in str(faults[0])


def test_a_plan_turned_away_from_the_car_is_rejected() -> None:
    spun = dataclasses.replace(NOW, orientation_xyzw=np.array([0.0, 0.0, 0.6, 0.8]))
    faults = check_plan(result_at(), spun, SETTINGS)
    assert [f.kind for f in faults] == [PlanFaultKind.DISPLACED]
    assert "turned by 1.3 rad" in str(faults[0])


def test_points_that_do_not_move_as_the_plan_says_are_rejected() -> None:
    good = straight()
    replace = dataclasses.replace
    assert kinds(replace(good, position_m=good.position_m * 1.4)) == {PlanFaultKind.BROKEN}
    sliding = good.position_m * [0.7, 0, 0] + good.position_m[:, [1, 0, 2]] * 0.7
    assert kinds(replace(good, position_m=sliding)) & {PlanFaultKind.BROKEN}


def test_cornering_and_jerk_are_judged_too() -> None:
    time_s = 0.1 * np.arange(1, 65)
    wobble = 4.0 * np.sign(np.sin(2 * np.pi * time_s))  # hard braking and speeding up in turns
    faults = check_plan(
        result_at(trajectory=dataclasses.replace(straight(), acceleration_mps2=wobble)),
        NOW,
        PlannerSettings.from_mapping({"max_jerk_mps3": 10.0}),
    )
    assert [f.kind for f in faults] == [PlanFaultKind.JERK]
    assert "jerk 16.00 above 10.00 m/s^3" in str(faults[0])
    turn = 1.2 * time_s  # 8 m/s at 1.2 rad/s, with a curvature that says nothing of it
    x, y = 8.0 / 1.2 * np.sin(turn), 8.0 / 1.2 * (1 - np.cos(turn))
    circle = np.stack([x, y, 0 * x], axis=1)
    lying = dataclasses.replace(straight(), position_m=circle, heading_rad=turn)
    here = dataclasses.replace(NOW, position_m=result_at().ego.position_m, stamp_ns=T0_NS)
    kinds_found = {f.kind for f in check_plan(result_at(trajectory=lying), here, SETTINGS)}
    assert kinds_found == {PlanFaultKind.LATERAL_ACCELERATION}


@pytest.mark.parametrize(
    ("text", "finish", "words"),
    [
        ("Keep the speed: the road is free.", FinishReason.COMPLETE, ""),
        ("", FinishReason.COMPLETE, "empty"),
        ("  \n", FinishReason.COMPLETE, "empty"),
        ("Keep the", FinishReason.LENGTH, "cut at max_reasoning_tokens"),
        ("Bananas.", FinishReason.COMPLETE, "no decision"),
        ("Stop for the red light.", FinishReason.COMPLETE, "decides 'stop' and the path does not"),
    ],
)
def test_a_text_that_the_path_does_not_follow(text: str, finish: FinishReason, words: str) -> None:
    decoded = dataclasses.replace(result_at().decoded, finish_reason=finish)
    result = result_at(text=text, decoded=decoded)
    assert check_plan(result, NOW, SETTINGS) == ()
    strict = PlannerSettings.from_mapping({"require_agreement": True})
    faults = check_plan(result, NOW, strict)
    assert [f.kind for f in faults] == ([PlanFaultKind.DISAGREES] if words else [])
    assert words in disagreement(result)
    assert bool(words) == bool(disagreement(result))


def test_reversal_and_leaps_are_rejected() -> None:
    good = straight()
    turned = np.where(np.arange(64)[:, None] > 20, good.position_m[20] * 2 - good.position_m,
                      good.position_m)  # fmt: skip
    assert PlanFaultKind.REVERSED in kinds(dataclasses.replace(good, position_m=turned))
    leap = good.position_m + np.where(np.arange(64)[:, None] > 30, [20.0, 0, 0], 0.0)
    assert PlanFaultKind.BROKEN in kinds(dataclasses.replace(good, position_m=leap))


def test_limits_of_the_settings_hold() -> None:
    good = straight()
    ones = np.ones(64)
    replace = dataclasses.replace
    assert kinds(replace(good, speed_mps=40 * ones)) >= {PlanFaultKind.SPEED}
    assert kinds(replace(good, acceleration_mps2=9 * ones)) == {PlanFaultKind.ACCELERATION}
    assert kinds(replace(good, acceleration_mps2=-12 * ones)) == {PlanFaultKind.ACCELERATION}
    assert kinds(replace(good, curvature_1pm=0.2 * ones)) == {PlanFaultKind.LATERAL_ACCELERATION}
    slow = straight(2.5)
    assert PlanFaultKind.CURVATURE in kinds(replace(slow, curvature_1pm=0.5 * ones))


def test_one_noisy_point_is_no_reason() -> None:
    good = straight()
    spike = good.acceleration_mps2.copy()
    spike[10] = 12.0
    assert kinds(dataclasses.replace(good, acceleration_mps2=spike)) == set()
