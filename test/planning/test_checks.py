"""A bad plan is rejected with the figure that condemns it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from drives import state_at
from results import T0_NS, result_at, straight

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.checks import PlanFaultKind, check_plan
from rsd_planner.types import Trajectory

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


def test_a_plan_for_another_place_is_rejected() -> None:
    elsewhere = dataclasses.replace(
        straight(), position_m=straight().position_m + np.array([0, 5.0, 0])
    )
    assert PlanFaultKind.DISPLACED in kinds(elsewhere)
    swerved = dataclasses.replace(NOW, position_m=NOW.position_m + np.array([0, 2.0, 0]))
    faults = check_plan(result_at(), swerved, SETTINGS)
    assert [f.kind for f in faults] == [PlanFaultKind.DISPLACED]
    assert "2.0 m from where the car is now" in str(faults[0])


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
