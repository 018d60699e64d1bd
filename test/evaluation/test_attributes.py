"""What counts as right of what is said about a cause."""

from __future__ import annotations

import pytest

from rsd_planner.evaluation.attributes import is_right, score_attributes
from rsd_planner.simulation.phrases import distance_step_m


@pytest.mark.parametrize(
    ("name", "truth", "said", "right"),
    [
        ("side", "left", "left", True),
        ("side", "left", "right", False),
        ("kind", "van", "car", False),
        ("speed_kmh", 30, 35, True),
        ("speed_kmh", 30, 40, False),
        ("distance_m", 5, 6, True),
        ("distance_m", 5, 8, False),
        ("distance_m", 30, 27, True),
        ("distance_m", 60, 70, True),
        ("distance_m", 60, 75, False),
        ("distance_m", 12, None, False),
    ],
)
def test_a_quantity_may_be_one_step_off(name, truth, said, right):
    assert is_right(name, truth, said) is right


def test_steps_grow_with_the_distance():
    assert [distance_step_m(d) for d in (3, 10, 20, 40, 80)] == [1, 2, 3, 5, 10]


def test_only_causes_that_are_true_and_said_are_described():
    truth = {"cones": {"distance_m": 20}, "cut_in": {"side": "left", "distance_m": 9}}
    said = {"cut_in": {"side": "right", "distance_m": 8}, "curve": {"side": "left"}}
    found = score_attributes(truth, said)
    assert found["side"] == (0, 1)
    assert found["distance_m"] == (1, 1)
    assert found["kind"] == (0, 0)
