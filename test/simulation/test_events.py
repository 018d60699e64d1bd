"""What happens on drives: hazards that are told, heeded and survived."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from rsd_planner.simulation.network import HELD_OUT, NETWORKS, load_network
from rsd_planner.simulation.scene import Drive, Hazard, HazardKind, LightState, Snapshot
from rsd_planner.simulation.world import FIRST_HELD_OUT_SEED, simulate

EGO_SIZE_M, EGO_MIDDLE_M = (4.6, 1.8), 1.4  # its middle before base_link
TRAINING = (
    ("market", 1), ("market", 5), ("market", 7), ("oldtown", 0), ("oldtown", 2), ("oldtown", 7),
    ("plaza", 7), ("alley", 4), ("alley", 5), ("cobble", 3), ("cobble", 5), ("valley", 1),
    ("valley", 2), ("meadow", 2), ("meadow", 7), ("bypass", 4), ("bypass", 7), ("expressway", 0),
    ("expressway", 2),
)  # fmt: skip
HELD_OUT_SEEDS = (1, 2, 4, 5, 7, 8, 10, 12, 13, 14, 15, 16, 21)


@pytest.fixture(scope="module")
def drives() -> list[Drive]:
    """Several drives of every kind of road."""
    return [simulate(seed, 30.0, name) for name, seed in TRAINING]


@pytest.fixture(scope="module")
def held_out() -> list[Drive]:
    """Drives on the networks that are not for training."""
    return [simulate(FIRST_HELD_OUT_SEED + seed, 30.0) for seed in HELD_OUT_SEEDS]


def corners(x: float, y: float, yaw: float, length: float, width: float) -> NDArray[np.float64]:
    """(4, 2)"""
    cos, sin = np.cos(yaw), np.sin(yaw)
    box = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]]) * [length / 2, width / 2]
    return box @ np.array([[cos, sin], [-sin, cos]]) + [x, y]


def overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether two rectangles share ground: no side of either parts them."""
    for one in (a, b):
        for side in np.roll(one, -1, axis=0) - one:
            normal = np.array([-side[1], side[0]])
            if (a @ normal).max() <= (b @ normal).min() or (b @ normal).max() <= (a @ normal).min():
                return False
    return True


def touched(drive: Drive) -> Iterator[str]:
    """Names of what the ego drives into."""
    for shot in drive.snapshots:
        forward = np.array([np.cos(shot.ego_yaw_rad), np.sin(shot.ego_yaw_rad)])
        middle = np.array([shot.ego_x_m, shot.ego_y_m]) + EGO_MIDDLE_M * forward
        ego = corners(middle[0], middle[1], shot.ego_yaw_rad, *EGO_SIZE_M)
        things = [
            (v.vehicle_id, corners(v.x_m, v.y_m, v.yaw_rad, v.length_m, v.width_m))
            for v in (*shot.vehicles, *drive.parked)
            if np.hypot(v.x_m - middle[0], v.y_m - middle[1]) < 12.0
        ]
        people = ((p.person_id, p.x_m, p.y_m) for p in shot.pedestrians)
        cones = ((o.obstacle_id, o.x_m, o.y_m) for o in drive.obstacles)
        things += [(name, corners(x, y, 0.0, 0.4, 0.4)) for name, x, y in (*people, *cones)]
        yield from (name for name, box in things if overlap(ego, box))


def of_kind(shot: Snapshot, kind: HazardKind) -> Hazard | None:
    return next((h for h in shot.hazards if h.kind is kind), None)


def named(shot: Snapshot, kind: HazardKind) -> set[str]:
    return {name for hazard in shot.hazards if hazard.kind is kind for name in hazard.actor_ids}


def test_nobody_is_hit(drives: list[Drive], held_out: list[Drive]) -> None:
    assert [
        (d.network, d.seed, set(touched(d))) for d in drives + held_out if any(touched(d))
    ] == []


def test_the_ego_drives_comfortably_and_gets_on(drives: list[Drive]) -> None:
    for drive in drives:
        acceleration = drive.ego.acceleration_mps2
        assert acceleration.min() > -6.0 and acceleration.max() < 3.0, (drive.network, drive.seed)
        assert np.abs(np.diff(acceleration)).max() * 100 < 25.0  # jerk in m/s³
        sideways = np.abs(drive.ego.speed_mps * drive.ego.yaw_rate_radps)
        assert sideways.max() < 4.5, (drive.network, drive.seed)
    standing = [np.mean(drive.ego.speed_mps < 0.2) for drive in drives]
    assert np.mean(standing) < 0.25
    assert max(standing) < 0.7


def test_every_hazard_occurs_in_training_and_held_out(
    drives: list[Drive], held_out: list[Drive]
) -> None:
    for group in (drives, held_out):
        kinds = {h.kind for d in group for s in d.snapshots for h in s.hazards}
        assert kinds == set(HazardKind)
        lights = {s.light_ahead.state for d in group for s in d.snapshots if s.light_ahead}
        assert lights == set(LightState)


def test_hazards_are_sorted_and_their_actors_are_there(drives: list[Drive]) -> None:
    for drive in drives:
        standing = {v.vehicle_id for v in drive.parked} | {o.obstacle_id for o in drive.obstacles}
        for shot in drive.snapshots:
            moving = [v.vehicle_id for v in shot.vehicles]
            assert len(set(moving)) == len(moving)
            there = standing | set(moving)
            there |= {p.person_id for p in shot.pedestrians}
            distances = [h.distance_m for h in shot.hazards]
            assert distances == sorted(distances) and all(d >= 0.0 for d in distances)
            for hazard in shot.hazards:
                assert set(hazard.actor_ids) <= there
                assert bool(hazard.actor_ids) == (hazard.kind is not HazardKind.CURVE)


def test_same_seed_gives_the_same_events(drives: list[Drive]) -> None:
    for drive in (drives[1], drives[-1]):
        again = simulate(drive.seed, 30.0, drive.network)
        assert again.snapshots == drive.snapshots
        assert (again.parked, again.obstacles) == (drive.parked, drive.obstacles)


def test_held_out_networks_are_for_held_out_seeds_only(held_out: list[Drive]) -> None:
    assert {drive.network for drive in held_out} == set(HELD_OUT)
    assert {simulate(seed, 1.0).network for seed in range(12)} <= set(NETWORKS)


def test_the_ego_lets_a_crossing_pedestrian_pass(drives: list[Drive]) -> None:
    crossings = 0
    for drive in drives:
        near = [
            (h.distance_m, shot.ego_speed_mps)
            for shot in drive.snapshots
            if (h := of_kind(shot, HazardKind.PEDESTRIAN_CROSSING)) is not None
        ]
        crossings += bool(near)
        # It can always stop before the person.
        assert all(speed**2 / (2 * 5.0) < distance for distance, speed in near), drive.seed
    assert crossings >= 4


def test_who_steps_onto_the_road_was_seen_to_wait(drives: list[Drive]) -> None:
    """Before that a person at the kerb looks like one who lets the ego pass."""
    seen = 0
    for drive in drives:
        for before, shot in pairwise(drive.snapshots):
            steps_out = named(shot, HazardKind.PEDESTRIAN_CROSSING) - named(
                before, HazardKind.PEDESTRIAN_CROSSING
            )
            hazard = of_kind(shot, HazardKind.PEDESTRIAN_CROSSING)
            if hazard is not None and hazard.distance_m < 45.0 and steps_out:
                assert steps_out <= named(before, HazardKind.PEDESTRIAN_WAITING), drive.seed
                seen += 1
    assert seen >= 4


def test_who_cuts_in_signals_first(drives: list[Drive]) -> None:
    seen = 0
    for drive in drives:
        first = next((s for s in drive.snapshots[5:] if of_kind(s, HazardKind.CUT_IN)), None)
        if first is None:
            continue
        hazard = of_kind(first, HazardKind.CUT_IN)
        assert hazard is not None
        if any(of_kind(s, HazardKind.CUT_IN) for s in drive.snapshots[:5]):
            continue  # it has begun before
        actor = next(v for v in first.vehicles if v.vehicle_id == hazard.actor_ids[0])
        assert actor.indicator == {"left": "right", "right": "left"}[hazard.side]
        seen += 1
    assert seen >= 3


def test_a_cyclist_ahead_is_no_lead_and_is_not_overrun(drives: list[Drive]) -> None:
    told = [
        (shot, hazard)
        for drive in drives
        for shot in drive.snapshots
        if (hazard := of_kind(shot, HazardKind.CYCLIST)) is not None
    ]
    assert len(told) > 50
    for shot, hazard in told:
        rider = next(v for v in shot.vehicles if v.vehicle_id == hazard.actor_ids[0])
        assert rider.kind == "cyclist"
        assert shot.lead is None or shot.lead.vehicle_id != rider.vehicle_id


def test_the_ego_passes_what_blocks_its_lane_on_the_side_that_is_told(
    drives: list[Drive],
) -> None:
    passed = 0
    for drive in drives:
        where = {v.vehicle_id: (v.x_m, v.y_m) for v in drive.parked}
        where |= {o.obstacle_id: (o.x_m, o.y_m) for o in drive.obstacles}
        told = {
            hazard.actor_ids[0]: hazard.side
            for shot in drive.snapshots
            for hazard in shot.hazards
            if hazard.kind in (HazardKind.BLOCKED_LANE, HazardKind.CONES) and hazard.side
        }
        for name, side in told.items():
            offset = np.array(where[name]) - drive.ego.position_m
            best = int(np.argmin(np.linalg.norm(offset, axis=1)))
            yaw = drive.ego.yaw_rad[best]
            ahead = offset[best] @ [np.cos(yaw), np.sin(yaw)]
            if abs(ahead) > 1.0:
                continue  # the drive ends before it gets there
            left = offset[best] @ [-np.sin(yaw), np.cos(yaw)]
            assert (left < 0.0) == (side == "left"), (drive.network, drive.seed, name)
            passed += 1
    assert passed >= 8


def test_who_crosses_before_the_ego_is_heeded() -> None:
    drive = simulate(100037, 39.0)
    road = load_network(drive.network)
    lines = [road.path.position(place.distance_m) for place in road.give_ways]
    seen = 0
    for shot in drive.snapshots:
        told = {name for h in shot.hazards for name in h.actor_ids}
        cos, sin = np.cos(shot.ego_yaw_rad), np.sin(shot.ego_yaw_rad)
        for vehicle in shot.vehicles:
            dx, dy = vehicle.x_m - shot.ego_x_m, vehicle.y_m - shot.ego_y_m
            ahead, beside = cos * dx + sin * dy, cos * dy - sin * dx
            across = abs(np.cos(vehicle.yaw_rad - shot.ego_yaw_rad)) < 0.3
            away_m = min(np.hypot(*(np.array([vehicle.x_m, vehicle.y_m]) - p)) for p in lines)
            if across and 0.0 < ahead < 12.0 and abs(beside) < 2.0 and away_m < 15.0:
                assert vehicle.vehicle_id in told
                seen += 1
    assert seen > 3


def test_who_merges_comes_into_the_egos_lane(drives: list[Drive], held_out: list[Drive]) -> None:
    told = 0
    for drive in (*drives, *held_out):
        names = {
            name
            for shot in drive.snapshots
            for hazard in shot.hazards
            if hazard.kind is HazardKind.MERGE
            for name in hazard.actor_ids
        }
        for name in names:
            told += 1
            beside = [_left_of_ego(drive, shot, name) for shot in drive.snapshots]
            # A drive may end while it is still on the lane next to the ego's.
            assert min(abs(d) for d in beside if d is not None) < 4.5, (drive.network, drive.seed)
    assert told >= 2


def _left_of_ego(drive: Drive, shot: Snapshot, name: str) -> float | None:
    """How far a vehicle is to the left of the ego's path, across the road."""
    path = load_network(drive.network).path
    for vehicle in shot.vehicles:
        if vehicle.vehicle_id == name:
            _, other = path.nearest(np.array([vehicle.x_m, vehicle.y_m]))
            _, own = path.nearest(np.array([shot.ego_x_m, shot.ego_y_m]))
            return float(other - own)
    return None
