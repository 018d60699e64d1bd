"""The values of the simulated world: what is where at an instant, and a whole drive.

Lengths are metres in the world frame (x east, y north, z up; the ground is flat at z = 0),
angles radians counter-clockwise from x, times seconds since the drive's first snapshot. The
ego pose is that of `base_link`: the middle of the rear axle, on the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CameraMount",
    "Drive",
    "EgoTrack",
    "Hazard",
    "HazardKind",
    "LeadCar",
    "LightAhead",
    "LightState",
    "Obstacle",
    "Pedestrian",
    "Snapshot",
    "Vehicle",
    "Weather",
]


class LightState(str, Enum):
    """What a traffic light shows to one approach."""

    RED = "red"
    AMBER = "amber"
    GREEN = "green"


@dataclass(frozen=True)
class Vehicle:
    """A box on wheels. The pose is that of the middle of its footprint."""

    vehicle_id: str
    kind: str  # car, van, truck, cyclist
    x_m: float
    y_m: float
    yaw_rad: float
    length_m: float
    width_m: float
    height_m: float
    speed_mps: float
    acceleration_mps2: float
    brake_lamp: bool
    colour_rgb: tuple[int, int, int]
    parked: bool = False
    indicator: str = ""  # flashing: "left", "right", "both" (hazard lights) or none


@dataclass(frozen=True)
class Pedestrian:
    """A person on foot. The pose is that of the feet."""

    person_id: str
    x_m: float
    y_m: float
    yaw_rad: float
    speed_mps: float
    height_m: float
    colour_rgb: tuple[int, int, int]  # of the clothes


@dataclass(frozen=True)
class Obstacle:
    """Something that stands for the whole drive."""

    obstacle_id: str
    kind: str  # cone, barrier
    x_m: float
    y_m: float
    yaw_rad: float


class HazardKind(str, Enum):
    """What can be a cause besides the lead vehicle and the light."""

    PEDESTRIAN_CROSSING = "pedestrian_crossing"
    PEDESTRIAN_WAITING = "pedestrian_waiting"
    CYCLIST = "cyclist"  # ahead in the ego's lane; then there is no LeadCar
    CUT_IN = "cut_in"  # a vehicle that comes from the next lane into the ego's
    MERGE = "merge"  # the same from an entry that ends
    BLOCKED_LANE = "blocked_lane"  # a parked vehicle in the ego's lane
    CONES = "cones"  # in the ego's lane
    ONCOMING = "oncoming"  # a vehicle in a passage too narrow for two
    CROSS_TRAFFIC = "cross_traffic"  # has the right of way at a junction or roundabout
    CURVE = "curve"  # sharp enough to be slower for


@dataclass(frozen=True)
class Hazard:
    """Something that the expert heeds now, whether or not a camera sees it."""

    kind: HazardKind
    actor_ids: tuple[str, ...]  # vehicles, pedestrians, obstacles that show it; none for a curve
    distance_m: float  # along the ego's path, from its front bumper to where it matters
    # Where it comes from; for what blocks the lane the side on which the ego passes ("" if it
    # must stop); for a curve where it turns to.
    side: str = ""
    speed_mps: float = 0.0  # of the actor; for a curve the speed at which the ego takes it


@dataclass(frozen=True)
class LeadCar:
    """The next vehicle on the ego's own lane and route."""

    vehicle_id: str
    gap_m: float  # bumper to bumper
    speed_mps: float
    acceleration_mps2: float
    brake_lamp: bool


@dataclass(frozen=True)
class LightAhead:
    """The next traffic light on the ego's route."""

    signal: int  # index into RoadNetwork.signals and Snapshot.lights
    distance_m: float  # from the ego's front bumper to the stop line
    state: LightState


@dataclass(frozen=True)
class Snapshot:
    """Everything that can be seen around the ego car at one instant."""

    time_s: float
    ego_x_m: float
    ego_y_m: float
    ego_yaw_rad: float
    ego_speed_mps: float
    ego_acceleration_mps2: float
    vehicles: tuple[Vehicle, ...]  # moving traffic within sight; parked cars are in the Drive
    lights: tuple[LightState, ...]  # one for each signal of the network
    lead: LeadCar | None = None
    light_ahead: LightAhead | None = None
    pedestrians: tuple[Pedestrian, ...] = ()
    hazards: tuple[Hazard, ...] = ()  # nearest first


@dataclass(frozen=True)
class EgoTrack:
    """The ego's motion as a smooth curve, sampled densely and evenly."""

    time_s: NDArray[np.float64]  # (samples,)
    position_m: NDArray[np.float64]  # (samples, 2)
    yaw_rad: NDArray[np.float64]  # (samples,) unwrapped
    speed_mps: NDArray[np.float64]  # (samples,) of the rear axle, along the heading
    yaw_rate_radps: NDArray[np.float64]  # (samples,)

    def at(self, time_s: NDArray[np.float64]) -> EgoTrack:
        """The track at other times, by interpolation; times outside it are held at its ends."""
        x, y, yaw, speed, yaw_rate = (
            np.interp(time_s, self.time_s, values)
            for values in (
                self.position_m[:, 0],
                self.position_m[:, 1],
                self.yaw_rad,
                self.speed_mps,
                self.yaw_rate_radps,
            )
        )
        return EgoTrack(np.asarray(time_s), np.stack([x, y], axis=1), yaw, speed, yaw_rate)

    @property
    def acceleration_mps2(self) -> NDArray[np.float64]:
        """(samples,) along the heading, by central differences."""
        return np.gradient(self.speed_mps, self.time_s)


class Weather(str, Enum):
    """What the sky does to the picture. The narrator's way of speaking follows it."""

    CLEAR = "clear"
    OVERCAST = "overcast"
    DUSK = "dusk"
    FOG = "fog"
    RAIN = "rain"


@dataclass(frozen=True)
class CameraMount:
    """How this car's cameras deviate from the nominal ones."""

    height_m: float = 1.5
    pitch_down_deg: float = 2.0
    exposure: float = 1.0  # factor on the brightness


@dataclass(frozen=True)
class Drive:
    """One simulated drive: snapshots at even intervals and the ego's smooth motion."""

    seed: int
    network: str
    limit_mps: float
    weather: Weather
    snapshots: tuple[Snapshot, ...]
    ego: EgoTrack
    parked: tuple[Vehicle, ...]
    obstacles: tuple[Obstacle, ...] = ()
    mount: CameraMount = CameraMount()
    crosswalks_m: tuple[float, ...] = ()  # where pedestrians cross, metres along the route
