"""What counts as visible, on drawn scenes made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from rsd_planner.simulation.camera import CameraRenderer
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.labels import view_of
from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import (
    Drive,
    EgoTrack,
    Hazard,
    HazardKind,
    LeadCar,
    LightState,
    Obstacle,
    Pedestrian,
    Snapshot,
    Vehicle,
    Weather,
)
from rsd_planner.simulation.view import View

NETWORK, START_M, SPEED_MPS = "avenue", 60.0, 8.0
FRONT_M = 3.8  # from base_link, about


def drive_along(
    weather: Weather = Weather.CLEAR,
    sideways_mps: float = 0.0,
    obstacles: tuple[Obstacle, ...] = (),
    parked: tuple[Vehicle, ...] = (),
) -> Drive:
    """Three seconds along the road without anything on it."""
    road = load_network(NETWORK)
    path = road.path
    times = np.arange(0.0, 3.0, 0.05)
    along = START_M + SPEED_MPS * times
    places = zip(along, times, strict=True)
    position = np.stack([path.beside(s, sideways_mps * t) for s, t in places])
    yaw = np.array([path.heading(s) for s in along])
    track = EgoTrack(times, position, yaw, np.full(len(times), SPEED_MPS), np.zeros(len(times)))
    dark = (LightState.RED,) * len(road.signals)
    shot = Snapshot(0.0, *position[0], float(yaw[0]), SPEED_MPS, 0.0, (), dark)
    return Drive(1, NETWORK, 13.9, weather, (shot,), track, parked, obstacles)


def place(ahead_m: float, left_m: float) -> tuple[float, float, float]:
    """x, y and heading of the road there, from base_link."""
    path = load_network(NETWORK).path
    x, y = path.beside(START_M + ahead_m, left_m)
    return float(x), float(y), path.heading(START_M + ahead_m)


def vehicle(ahead_m: float, left_m: float, braking: bool = False) -> Vehicle:
    x, y, yaw = place(ahead_m, left_m)
    return Vehicle("probe", "van", x, y, yaw, 5.4, 2.0, 2.2, 4.0, 0.0, braking, (200, 200, 200))


def see(drive: Drive, shot: Snapshot | None = None) -> View:
    """The view of a drive's only snapshot, or of another one in it."""
    renderer = CameraRenderer(drive)
    try:
        shown = shot or drive.snapshots[0]
        return view_of(drive, shown, renderer.render(shown).classes)
    finally:
        renderer.close()


def with_person(drive: Drive, ahead_m: float, left_m: float, side: str) -> Snapshot:
    x, y, yaw = place(ahead_m, left_m)
    person = Pedestrian("anna", x, y, yaw + 1.57, 1.3, 1.75, (180, 40, 40))
    hazard = Hazard(HazardKind.PEDESTRIAN_CROSSING, ("anna",), ahead_m - FRONT_M, side, 1.3)
    return replace(drive.snapshots[0], pedestrians=(person,), hazards=(hazard,))


def test_a_pedestrian_ahead_is_seen_with_side_and_distance() -> None:
    drive = drive_along()
    view = see(drive, with_person(drive, 24.0, 1.0, "left"))
    assert [(h.kind, h.side) for h in view.hazards] == [(HazardKind.PEDESTRIAN_CROSSING, "left")]
    assert view.hazards[0].distance_m == pytest.approx(24.0 - FRONT_M)


@pytest.mark.parametrize(("pixels", "first", "still"), [(50, True, True), (30, False, True),
                                                        (20, False, False)])  # fmt: skip
def test_what_was_seen_stays_seen_at_a_little_less(pixels: int, first: bool, still: bool) -> None:
    drive = drive_along()
    shot = with_person(drive, 24.0, 1.0, "left")
    classes = np.full((128, 256), PixelClass.ROAD, np.uint8)
    classes.ravel()[:pixels] = PixelClass.PEDESTRIAN_CROSSING
    seen_before = see(drive, shot)
    assert bool(view_of(drive, shot, classes).hazards) is first
    assert bool(view_of(drive, shot, classes, seen_before).hazards) is still


def test_a_pedestrian_beside_the_picture_is_not_seen() -> None:
    drive = drive_along()
    assert see(drive, with_person(drive, 6.0, 7.0, "left")).hazards == ()


def test_a_pedestrian_behind_a_van_is_not_seen() -> None:
    drive = drive_along()
    shot = replace(with_person(drive, 30.0, 0.0, "left"), vehicles=(vehicle(14.0, 0.0),))
    assert see(drive, shot).hazards == ()


def test_fog_hides_what_is_far() -> None:
    clear, fog = drive_along(), drive_along(Weather.FOG)
    lead = LeadCar("probe", 59.0, 4.0, 0.0, False)
    shown = [
        see(drive, replace(drive.snapshots[0], vehicles=(vehicle(66.0, 0.0),), lead=lead)).lead
        for drive in (clear, fog)
    ]
    assert shown[0] is not None
    assert shown[0].kind == "van"
    assert shown[1] is None


def test_the_lamps_of_the_lead_are_seen() -> None:
    drive = drive_along()
    lead = LeadCar("probe", 13.0, 4.0, -1.0, True)
    braking = (True, False)
    leads = [
        see(drive, replace(drive.snapshots[0], vehicles=(vehicle(20.0, 0.0, lit),), lead=lead)).lead
        for lit in braking
    ]
    assert [seen is not None and seen.braking for seen in leads] == [True, False]


def test_lamps_of_a_few_pixels_are_no_lamps_unless_they_were_lit_before() -> None:
    drive = drive_along()
    lead = LeadCar("probe", 13.0, 4.0, -1.0, True)
    shot = replace(drive.snapshots[0], vehicles=(vehicle(20.0, 0.0, True),), lead=lead)
    classes = np.full((128, 256), PixelClass.LEAD_VEHICLE, np.uint8)
    classes.ravel()[:3] = PixelClass.LEAD_BRAKE_LAMP_ON
    for before, lit in ((View(0.0, 0.0), False), (see(drive, shot), True)):
        seen = view_of(drive, shot, classes, before).lead
        assert seen is not None and seen.braking is lit


def test_a_lead_that_is_a_hazard_is_told_once() -> None:
    drive = drive_along()
    hazard = Hazard(HazardKind.CUT_IN, ("probe",), 13.0, "left", 4.0)
    lead = LeadCar("probe", 13.0, 4.0, -1.0, True)
    view = see(drive, replace(drive.snapshots[0], vehicles=(vehicle(20.0, 0.0, True),), lead=lead,
                              hazards=(hazard,)))  # fmt: skip
    assert view.lead is None
    assert [(h.kind, h.actor) for h in view.hazards] == [(HazardKind.CUT_IN, "van")]


def test_cones_and_a_parked_van_in_the_lane_are_seen_and_those_off_it_are_nothing() -> None:
    cones = tuple(
        Obstacle(f"cone{i}", "cone", *place(18.0 + 2 * i, 0.4 * i)) for i in range(4)
    )  # fmt: skip
    van = replace(vehicle(34.0, 0.0), parked=True)
    drive = drive_along(obstacles=cones, parked=(van,))
    heeded = (
        Hazard(HazardKind.CONES, tuple(c.obstacle_id for c in cones), 14.0, "left"),
        Hazard(HazardKind.BLOCKED_LANE, ("probe",), 27.0, "left"),
    )
    seen = see(drive, replace(drive.snapshots[0], hazards=heeded)).hazards
    assert [(h.kind, h.actor) for h in seen] == [
        (HazardKind.CONES, ""),
        (HazardKind.BLOCKED_LANE, "van"),
    ]
    assert see(drive).hazards == ()


def test_a_curve_is_seen_from_near() -> None:
    drive = drive_along()
    curves = [Hazard(HazardKind.CURVE, (), d, "right", 6.0) for d in (30.0, 62.0)]
    near, far = (see(drive, replace(drive.snapshots[0], hazards=(c,))).hazards for c in curves)
    assert [h.side for h in near] == ["right"]
    assert far == ()


def test_a_move_to_the_side_is_measured_across_the_road() -> None:
    for sideways in (-0.8, 0.0, 0.8):
        assert see(drive_along(sideways_mps=sideways)).sideways_mps == pytest.approx(
            sideways, abs=0.05
        )
