"""What stands beside the roads, and what is painted on them."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rsd_planner.simulation import scenery
from rsd_planner.simulation.camera import CameraRenderer
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.network import HELD_OUT, NETWORKS, RoadNetwork, load_network
from rsd_planner.simulation.placing import clearance
from rsd_planner.simulation.polygons import counter_clockwise, grown_hull, triangles
from rsd_planner.simulation.scene import Drive, EgoTrack, LightState, Snapshot, Weather

ALL = NETWORKS + HELD_OUT
PAVED = (PixelClass.ROAD, PixelClass.MARKING, PixelClass.STOP_LINE)


def at(road: RoadNetwork, distance_m: float) -> Snapshot:
    """Nobody but the ego, on the path."""
    x, y = road.path.position(distance_m)
    lights = (LightState.RED,) * len(road.signals)
    yaw = road.path.heading(distance_m)
    return Snapshot(0.0, float(x), float(y), yaw, 8.0, 0.0, (), lights)


@cache
def views(name: str) -> tuple[CameraRenderer, RoadNetwork]:
    road = load_network(name)
    none = np.zeros(1)
    track = EgoTrack(none, np.zeros((1, 2)), none, none, none)
    drive = Drive(7, name, 13.9, Weather.CLEAR, (at(road, 10.0),), track, ())
    return CameraRenderer(drive), road


def upright_points(meshes: list[Mesh]) -> NDArray[np.float64]:
    return np.concatenate([mesh.points() for mesh in meshes])


@pytest.mark.parametrize("name", ALL)
def test_everywhere_on_the_route_there_is_road_before_the_bonnet(name: str) -> None:
    renderer, road = views(name)
    for distance in np.linspace(12.0, road.path.length_m - 40.0, 16):
        classes = renderer.render(at(road, float(distance))).classes
        assert np.isin(classes[115:, 100:156], PAVED).all(), distance


@pytest.mark.parametrize("name", ALL)
def test_nothing_stands_on_the_lanes(name: str) -> None:
    road = load_network(name)
    points = upright_points(scenery.upright_cells(road, 7, 1.0))
    low = np.unique(points[points[:, 2] < 2.0][:, :2], axis=0)
    middles = np.concatenate([lane for edge in road.edges for lane in edge.lanes])
    spots = middles[:: max(1, len(middles) // 4000)]
    # A car is two metres wide; lanes are sampled at their corners and along the path.
    along = np.arange(5.0, road.path.length_m - 5.0, 2.0).tolist()
    spots = np.concatenate([spots, [road.path.position(s) for s in along]])
    assert cKDTree(spots).query(low)[0].min() > 1.1


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_builds_the_same_world(name: str) -> None:
    road = load_network(name)
    first, second, other = (
        upright_points(scenery.upright_cells(road, seed, 1.0)) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first, second)
    assert first.shape != other.shape


@pytest.mark.parametrize("name", [n for n in ALL if load_network(n).give_ways])
def test_a_give_way_sign_and_line_are_seen_before_one_has_to_give_way(name: str) -> None:
    renderer, road = views(name)
    for place in road.give_ways:
        classes = renderer.render(at(road, place.distance_m - 18.0)).classes
        assert (classes == PixelClass.SIGN).sum() >= 12
        assert (classes == PixelClass.STOP_LINE).sum() >= 6


@pytest.mark.parametrize("name", [n for n in ALL if load_network(n).curves])
def test_boards_stand_outside_sharp_curves(name: str) -> None:
    renderer, road = views(name)
    for curve in road.curves:
        middle = road.path.position((curve.start_m + curve.end_m) / 2)
        on_ring = any(np.linalg.norm(middle - c) < r + 30.0 for c, r in road.islands)
        if curve.radius_m > 60.0 or on_ring or curve.start_m < 30.0:
            continue
        classes = renderer.render(at(road, curve.start_m - 15.0)).classes
        columns = np.nonzero(classes == PixelClass.SIGN)[1]
        assert len(columns) >= 20


@pytest.mark.parametrize("name", [n for n in ALL if load_network(n).ramps])
def test_a_motorway_has_no_houses(name: str) -> None:
    renderer, road = views(name)
    for ramp in road.ramps:
        classes = renderer.render(at(road, ramp.start_m)).classes
        assert (classes == PixelClass.POLE).sum() > 20
        houses = np.nonzero(classes == PixelClass.BUILDING)[1]
        assert not len(houses) or houses.max() < 128  # only the barrier on the left


def test_signs_of_the_limit_stand_only_where_it_is_known() -> None:
    road = load_network("avenue")
    without, slow, fast = (
        sum(len(mesh) for mesh in scenery.upright_cells(road, 3, 1.0, limit))
        for limit in (None, 10 / 3.6, 80 / 3.6)
    )
    assert without < slow < fast  # 80 has more strokes than 10


@pytest.mark.parametrize("name", ALL)
def test_a_crosswalk_reaches_from_kerb_to_kerb(name: str) -> None:
    road = load_network(name)
    edge = road.edge("f1")
    distance = (road.starts_m["f1"] + road.ends_m["f1"]) / 2
    points = scenery.crosswalk(road, distance).points()
    places = np.array([road.path.nearest(p[:2]) for p in points])
    np.testing.assert_allclose(np.abs(places[:, 0] - distance), 1.8, atol=0.5)
    lane, width = road.path_lanes["f1"], edge.lane_width_m
    right = -(lane + 0.5) * width - edge.paved_m
    assert 0.0 <= places[:, 1].min() - right < 0.9
    left = (len(edge.lanes) - lane - 0.5) * width
    if road.backward:
        opposite = road.edge("b1")
        left += len(opposite.lanes) * width + opposite.paved_m
    assert 0.0 <= left - places[:, 1].max() < 0.9
    assert (points[:, 2] == 0.0).all()


def test_a_crosswalk_is_drawn_where_the_drive_says() -> None:
    road = load_network("bend")
    none = np.zeros(1)
    track = EgoTrack(none, np.zeros((1, 2)), none, none, none)
    bare = Drive(7, "bend", 13.9, Weather.CLEAR, (at(road, 10.0),), track, ())
    counts = []
    for drive in (bare, replace(bare, crosswalks_m=(72.0,))):
        renderer = CameraRenderer(drive)
        classes = renderer.render(at(road, 60.0)).classes
        counts.append(int((classes == PixelClass.MARKING).sum()))
        renderer.close()
    assert counts[1] > counts[0] + 400


def test_triangles_cover_a_polygon_once() -> None:
    corners = [[0, 0], [6, 0], [6, 4], [4, 4], [4, 1], [2, 1], [2, 4], [0, 4], [0, 4]]
    area = counter_clockwise(np.array(corners, dtype=float)[::-1])
    pieces = triangles(area)
    sizes = [0.5 * ((b - a)[0] * (c - a)[1] - (b - a)[1] * (c - a)[0]) for a, b, c in pieces]
    assert len(pieces) == len(area) - 2
    assert min(sizes) > 0.0
    assert sum(sizes) == pytest.approx(18.0)
    hull = grown_hull(area, 1.0)
    assert hull.min(axis=0).tolist() == pytest.approx([-1.0, -1.0])
    assert hull.max(axis=0).tolist() == pytest.approx([7.0, 5.0])


def test_clearance_is_measured_from_the_edge_of_the_asphalt() -> None:
    road = load_network("meadow")
    free = clearance("meadow")
    edge = road.edge("f0")
    outer = -(edge.lane_width_m / 2 + edge.paved_m)
    for distance in (20.0, 60.0, 100.0):
        assert free.distance(road.path.position(distance)[None]) < -1.0
        beyond = road.path.beside(distance, outer - 3.0)
        assert free.distance(beyond[None]) == pytest.approx(3.0, abs=0.3)
