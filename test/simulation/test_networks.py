"""The road networks: one can drive them to the end, and they hold what their kind promises."""

import os
from functools import cache

import libsumo
import numpy as np
import pytest
from numpy.typing import NDArray

from rsd_planner.simulation.network import (
    HELD_OUT,
    NETWORKS,
    NETWORKS_BY_KIND,
    Curve,
    RoadNetwork,
    RoutePath,
    load_network,
    network_path,
)
from rsd_planner.simulation.route import find_curves

ALL = NETWORKS + HELD_OUT


@cache
def driven(name: str) -> NDArray[np.float64]:
    """Where one vehicle is that drives the route alone, every 0.2 s."""  # (steps, 2)
    road = load_network(name)
    os.environ.setdefault("SUMO_HOME", os.fspath(network_path(name).parent))
    libsumo.start(
        ["sumo", "-n", str(network_path(name)), "--step-length", "0.2", "--no-step-log", "true"]
    )
    try:
        libsumo.route.add("way", road.route)
        lane = str(road.path_lanes[road.route[0]])
        libsumo.vehicle.add("ego", "way", departLane=lane, departPos="5", departSpeed="8")
        libsumo.vehicle.setLaneChangeMode("ego", 0)
        places = []
        for _ in range(2000):
            libsumo.simulationStep()
            if "ego" not in libsumo.vehicle.getIDList():
                break
            places.append(libsumo.vehicle.getPosition("ego"))
        return np.array(places)
    finally:
        libsumo.close()


def kinds(road: RoadNetwork) -> set[str]:
    return {edge.kind for edge in road.main}


@pytest.mark.parametrize("name", ALL)
def test_one_vehicle_drives_the_whole_route_along_the_path(name: str) -> None:
    path = load_network(name).path
    assert path.along_m[-1] == pytest.approx(
        np.linalg.norm(np.diff(path.points, axis=0), axis=1).sum(), rel=0.005
    )
    distances, left = np.array([path.nearest(place) for place in driven(name)]).T
    assert distances[-1] > path.length_m - 30.0
    assert np.abs(left).max() < 0.3


@pytest.mark.parametrize("name", ALL)
def test_path_never_jumps(name: str) -> None:
    path = load_network(name).path
    headings = [path.heading(s) for s in np.arange(0.0, path.length_m, 3.0)]
    assert np.abs(np.diff(headings)).max() < 0.5


def test_held_out_networks_are_not_for_training() -> None:
    assert not set(HELD_OUT) & set(NETWORKS)
    assert len(HELD_OUT) == 2
    assert len(set(NETWORKS)) >= 10


@pytest.mark.parametrize("name", ALL)
def test_file_is_small_and_holds_no_date_or_path(name: str) -> None:
    text = network_path(name).read_text()
    assert len(text) < 150_000
    assert "made by make_networks.py" in text
    assert "generated on" not in text
    assert "/tmp" not in text


@pytest.mark.parametrize("name", ALL)
def test_kinds_hold_what_they_promise(name: str) -> None:
    road = load_network(name)
    there = kinds(road)
    if "city" in there:
        assert len({signal.light_id for signal in road.signals}) >= 2
        assert all(len(e.lanes) in (2, 3) for e in road.main if e.kind == "city")
    if "oldtown" in there:
        assert all(len(e.lanes) == 1 for e in road.main if e.kind == "oldtown")
        assert road.signals
        assert any(not place.roundabout for place in road.give_ways)
    if "rural" in there:
        assert any(place.roundabout for place in road.give_ways)
        assert any(not place.roundabout for place in road.give_ways)
        assert sum(25 <= curve.radius_m <= 80 for curve in road.curves) >= 3
    if "motorway" in there:
        assert sum(ramp.entry for ramp in road.ramps) == 2
        assert all(ramp.end_m - ramp.start_m > 150 for ramp in road.ramps)
    assert all(edge.lane_width_m >= 3.2 for edge in road.edges)


def test_networks_are_listed_under_the_kind_that_they_begin_with() -> None:
    for kind, names in NETWORKS_BY_KIND.items():
        assert {load_network(name).kind for name in names} == {kind}


def test_held_out_networks_together_hold_every_kind_of_road() -> None:
    trained = set().union(*(kinds(load_network(name)) for name in NETWORKS))
    assert set().union(*(kinds(load_network(name)) for name in HELD_OUT)) == trained
    assert trained == {"city", "oldtown", "rural", "motorway"}


@pytest.mark.parametrize("name", ALL)
def test_who_has_the_right_of_way_crosses_the_route(name: str) -> None:
    road = load_network(name)
    for place in road.give_ways:
        assert place.cross_routes
        assert place.edge_id in road.route
        waiting = road.path.position(place.distance_m)
        left = road.path.position(place.end_m)
        for edges in place.cross_routes:
            lines = np.concatenate([road.edge(edge).lanes[0] for edge in edges])
            crossing = RoutePath(lines)
            # Between the yield line and where the ego is through, or close by on a ring.
            middle, _ = road.path.nearest(crossing.position(crossing.nearest(waiting)[0]))
            assert abs(crossing.nearest((waiting + left) / 2)[1]) < 12.0
            assert place.distance_m - 15 < middle < place.end_m + 15


@pytest.mark.parametrize("name", [n for n in ALL if load_network(n).ramps])
def test_ramps_lie_on_the_right_of_the_route_and_meet_it(name: str) -> None:
    road = load_network(name)
    for ramp in road.ramps:
        beside = road.edge(ramp.beside_id)
        assert beside.extra_lanes == 1
        assert ramp.route[0 if ramp.entry else -1] == ramp.edge_id
        lane = road.edge(ramp.edge_id).lanes[0]
        near, far = (lane[-1], lane[0]) if ramp.entry else (lane[0], lane[-1])
        here = ramp.start_m if ramp.entry else ramp.end_m
        assert road.path.nearest(near)[0] == pytest.approx(here, abs=12.0)
        # It goes on as the extra lane, and lies well off the road at its other end.
        gap = np.linalg.norm(near - beside.lanes[0][0 if ramp.entry else -1])
        assert gap < 12.0
        assert road.path.nearest(far)[1] < -15.0


@pytest.mark.parametrize("name", ALL)
def test_positions_and_arc_lengths_belong_together(name: str) -> None:
    road = load_network(name)
    for edge_id in road.route:
        edge = road.edge(edge_id)
        middle = road.distance(edge_id, edge.length_m / 2)
        found, position = road.edge_at(middle)
        assert found is edge
        assert position == pytest.approx(edge.length_m / 2)
        lane = edge.lanes[road.path_lanes[edge_id]]
        np.testing.assert_allclose(road.path.position(road.starts_m[edge_id]), lane[0], atol=1e-6)


def test_a_path_is_asked_by_arc_length_and_gives_it_back() -> None:
    angles = np.linspace(0.0, np.pi / 2, 60)
    circle = 40.0 * np.stack([np.sin(angles), 1 - np.cos(angles)], axis=1)
    path = RoutePath(np.concatenate([[[-50.0, 0.0]], circle, [[40.0, 90.0]]]))
    assert path.length_m == pytest.approx(100 + 40 * np.pi / 2, abs=0.1)
    assert path.heading(20.0) == pytest.approx(0.0, abs=0.02)
    assert path.heading(path.length_m - 5.0) == pytest.approx(np.pi / 2, abs=0.02)
    point = path.beside(70.0, 3.0)
    assert path.nearest(point) == pytest.approx((70.0, 3.0), abs=0.1)
    assert path.nearest(point, low_m=90.0)[0] >= 88.0
    assert path.cut(10.0, 30.0).tolist() == [[-40.0, 0.0], [-20.0, 0.0]]


def test_a_sharp_curve_is_found_with_its_radius_side_and_comfortable_speed() -> None:
    angles = np.linspace(0.0, 1.2, 40)
    bend = 30.0 * np.stack([np.sin(angles), np.cos(angles) - 1], axis=1)
    end = bend[-1] + 80.0 * np.array([np.cos(1.2), -np.sin(1.2)])
    (curve,) = find_curves(RoutePath(np.concatenate([[[-80.0, 0.0]], bend, [end]])))
    assert isinstance(curve, Curve)
    assert curve.side == "right"
    assert curve.radius_m == pytest.approx(30.0, rel=0.1)
    assert curve.speed_mps == pytest.approx(np.sqrt(2.0 * curve.radius_m))
    assert curve.start_m == pytest.approx(80.0, abs=6.0)
    assert curve.end_m == pytest.approx(116.0, abs=6.0)


def test_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="ridge"):
        load_network("highway")
