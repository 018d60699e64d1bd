"""Draws what the front camera sees, with Panda3D's software renderer: no display, no GPU.

One picture for the eye, drawn twice as large and averaged down, and one flat id picture that
says what every pixel shows. One renderer a process. It knows nothing of why things happen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from panda3d.core import (
    Camera,
    FrameBufferProperties,
    GraphicsEngine,
    GraphicsOutput,
    GraphicsPipe,
    GraphicsPipeSelection,
    NodePath,
    PerspectiveLens,
    Texture,
    WindowProperties,
    loadPrcFileData,
)

from rsd_planner.simulation import cars, scenery
from rsd_planner.simulation.classes import CLASS_STEP, PixelClass
from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import Drive, LightState, Snapshot, Vehicle, Weather
from rsd_planner.types import CameraModel

__all__ = ["CAMERA_NAME", "ID_SIZE", "CameraRenderer", "Picture", "front_wide_camera"]

loadPrcFileData(
    "",
    "load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\n"
    "sync-video false\nnotify-level-x11display fatal\nnotify-level-tinydisplay error",
)

CAMERA_NAME = "front_wide"
ID_SIZE = (256, 128)  # width, height of the id picture
_SIZE = (640, 320)
_FIELD_OF_VIEW_DEG = 66.0
_MOUNT_M = (1.9, 0.0, 1.5)  # in the ego frame
_PITCH_DOWN_DEG = 2.0
_SUPERSAMPLING = 2
_FAR_M = 900.0  # nothing reaches it: the renderer clips badly there
_CELL_SIGHT_M = 330.0
_LIT = {
    LightState.RED: PixelClass.LIGHT_RED,
    LightState.AMBER: PixelClass.LIGHT_AMBER,
    LightState.GREEN: PixelClass.LIGHT_GREEN,
}


def front_wide_camera() -> CameraModel:
    """The camera that the renderer draws: intrinsics in pixels, pose in the ego frame."""
    width, height = _SIZE
    focal = width / 2 / np.tan(np.deg2rad(_FIELD_OF_VIEW_DEG / 2))
    pitch = np.deg2rad(_PITCH_DOWN_DEG)
    forward = np.array([np.cos(pitch), 0.0, -np.sin(pitch)])
    right = np.array([0.0, -1.0, 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = _MOUNT_M
    return CameraModel(
        width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, pose_ego_from_camera=pose
    )


@dataclass(frozen=True)
class Picture:
    """What the camera sees and what every (coarser) pixel of it is."""

    image: NDArray[np.uint8]  # (320, 640, 3) RGB
    classes: NDArray[np.uint8]  # (128, 256) PixelClass


class _View:
    """One offscreen buffer that looks at one scene."""

    def __init__(self, engine: GraphicsEngine, pipe: GraphicsPipe, size: tuple[int, int]) -> None:
        properties = FrameBufferProperties()
        properties.setRgbColor(True)
        properties.setDepthBits(24)
        self.size = size
        self.scene = NodePath("scene")
        self.scene.setTwoSided(True)
        self._buffer = engine.makeOutput(
            pipe, "view", 0, properties, WindowProperties.size(*size), GraphicsPipe.BFRefuseWindow
        )
        self._texture = Texture()
        self._buffer.addRenderTexture(self._texture, GraphicsOutput.RTMCopyRam)
        lens = PerspectiveLens()
        model = front_wide_camera()
        lens.setFilmSize(model.width, model.height)
        lens.setFocalLength(model.focal_x_px)
        lens.setNearFar(0.3, _FAR_M)
        self.camera = self.scene.attachNewNode(Camera("camera", lens))
        self._buffer.makeDisplayRegion().setCamera(self.camera)

    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 4) BGRA, top row first."""
        raw = np.frombuffer(self._texture.getRamImage(), np.uint8)
        return raw.reshape(self.size[1], self.size[0], 4)[::-1]


class _Actor:
    """A vehicle in both scenes; it is moved, shown, hidden and lit."""

    def __init__(self, seen: NodePath, label: NodePath) -> None:
        self.roots = (seen, label)
        self.lamps: dict[bool, NodePath] = {}
        self.label_body = NodePath()
        self.label_lamp = NodePath()


class CameraRenderer:
    """Draws one drive. Make a new one for the next drive after `close`."""

    def __init__(self, drive: Drive) -> None:
        overcast = drive.weather is not Weather.CLEAR
        self._road = load_network(drive.network)
        self._shade = 0.25 if overcast else 1.0
        self._engine = GraphicsEngine.getGlobalPtr()
        pipe = GraphicsPipeSelection.getGlobalPtr().makeDefaultPipe()
        width, height = (_SUPERSAMPLING * side for side in _SIZE)
        self._seen = _View(self._engine, pipe, (width, height))
        self._label = _View(self._engine, pipe, ID_SIZE)
        self._backdrop = self._make_backdrop(overcast)
        for order, mesh in enumerate(scenery.ground_layers(self._road)):
            self._attach_flat(mesh, f"ground{order}", 2 + order)
        self._cells: list[tuple[NDArray[np.float64], tuple[NodePath, NodePath]]] = []
        for mesh in scenery.upright_cells(self._road, drive.seed, self._shade):
            self._cells.append((mesh.middle()[:2], self._attach(mesh, "cell")))
        self._lamps = [
            {state: self._attach(scenery.lamp_disc(self._road, s, state), "lamp") for state in _LIT}
            for s in self._road.signals
        ]
        self._actors: dict[str, _Actor] = {}
        self._prototypes: dict[tuple[object, ...], tuple[NodePath, NodePath]] = {}
        for vehicle in drive.parked:
            self._place(vehicle, PixelClass.PARKED_VEHICLE)

    def close(self) -> None:
        """Frees the buffers."""
        for view in (self._seen, self._label):
            self._engine.removeWindow(view._buffer)
            view.scene.removeNode()

    def render(self, snapshot: Snapshot) -> Picture:
        """The picture at the snapshot's ego pose."""
        self._pose_camera(snapshot)
        self._show_lights(snapshot)
        self._show_vehicles(snapshot)
        self._engine.renderFrame()
        large = self._seen.pixels()
        small = cv2.resize(large, _SIZE, interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(small, cv2.COLOR_BGRA2RGB)
        label = self._label.pixels()[:, :, 2]
        classes = ((label.astype(np.uint16) + CLASS_STEP // 2) // CLASS_STEP).astype(np.uint8)
        return Picture(np.ascontiguousarray(image), classes)

    def _attach(self, mesh: Mesh, name: str) -> tuple[NodePath, NodePath]:
        seen, label = mesh.nodes(name)
        return self._seen.scene.attachNewNode(seen), self._label.scene.attachNewNode(label)

    def _attach_flat(self, mesh: Mesh, name: str, order: int) -> tuple[NodePath, NodePath]:
        """For layers on the ground: painted in order, without depth."""
        nodes = self._attach(mesh, name)
        for node in nodes:
            _paint_in_order(node, order)
        return nodes

    def _make_backdrop(self, overcast: bool) -> list[NodePath]:
        """Sky, far hills and ground around the ego; they move along with it."""
        horizon, zenith = ((206, 210, 214), (150, 160, 172)) if overcast else (
            (206, 222, 236), (86, 142, 212)
        )  # fmt: skip
        mesh, sides = Mesh(), 24
        angles = np.arange(sides + 1) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 250.0
        levels = np.linspace(0.0, 110.0, 17)
        for low, high in zip(levels[:-1], levels[1:], strict=True):
            share = min(1.0, low / 80.0) ** 0.7
            colour = tuple(int(a + share * (b - a)) for a, b in zip(horizon, zenith, strict=True))
            for a, b in zip(ring[:-1], ring[1:], strict=True):
                corners = [(*a, low), (*b, low), (*b, high), (*a, high)]
                mesh.quad(corners, colour, PixelClass.SKY, flat=True)  # type: ignore[arg-type]
        hill = (150, 166, 168) if not overcast else (158, 164, 166)
        heights = 6.0 + 5.0 * np.sin(3 * angles + 1.0) + 3.0 * np.sin(7 * angles)
        for i in range(sides):
            a, b = 0.99 * ring[i], 0.99 * ring[i + 1]
            corners = [(*a, -1.0), (*b, -1.0), (*b, heights[i + 1]), (*a, heights[i])]
            mesh.quad(corners, hill, PixelClass.VEGETATION, flat=True)
        ground = Mesh()
        grass = (124, 134, 104) if not overcast else (112, 120, 100)
        corners = [(-260, -260, 0), (260, -260, 0), (260, 260, 0), (-260, 260, 0)]
        ground.quad(corners, grass, PixelClass.GROUND, flat=True)
        return [*self._attach_flat(mesh, "sky", 0), *self._attach_flat(ground, "ground", 1)]

    def _pose_camera(self, snapshot: Snapshot) -> None:
        yaw = snapshot.ego_yaw_rad
        x = snapshot.ego_x_m + _MOUNT_M[0] * np.cos(yaw) - _MOUNT_M[1] * np.sin(yaw)
        y = snapshot.ego_y_m + _MOUNT_M[0] * np.sin(yaw) + _MOUNT_M[1] * np.cos(yaw)
        for view in (self._seen, self._label):
            view.camera.setPosHpr(
                x, y, _MOUNT_M[2], float(np.rad2deg(yaw)) - 90.0, -_PITCH_DOWN_DEG, 0.0
            )
        for node in self._backdrop:
            node.setPos(snapshot.ego_x_m, snapshot.ego_y_m, 0.0)
        here = np.array([x, y])
        for middle, nodes in self._cells:
            near = float(np.linalg.norm(middle - here)) < _CELL_SIGHT_M
            for node in nodes:
                node.show() if near else node.hide()

    def _show_lights(self, snapshot: Snapshot) -> None:
        ahead = snapshot.light_ahead.signal if snapshot.light_ahead else -1
        for index, lamps in enumerate(self._lamps):
            now = snapshot.lights[index]
            for state, (seen, label) in lamps.items():
                for node in (seen, label):
                    node.show() if state is now else node.hide()
            kind = _LIT[now] if index == ahead else PixelClass.OTHER_LIGHT
            _set_class(lamps[now][1], kind)

    def _show_vehicles(self, snapshot: Snapshot) -> None:
        present = set()
        for vehicle in snapshot.vehicles:
            lead = snapshot.lead is not None and vehicle.vehicle_id == snapshot.lead.vehicle_id
            self._place(vehicle, PixelClass.LEAD_VEHICLE if lead else PixelClass.VEHICLE)
            present.add(vehicle.vehicle_id)
        for name in [n for n in self._actors if n not in present and not n.startswith("p")]:
            for root in self._actors.pop(name).roots:
                root.removeNode()

    def _place(self, vehicle: Vehicle, kind: PixelClass) -> None:
        actor = self._actors.get(vehicle.vehicle_id)
        if actor is None:
            actor = self._actors[vehicle.vehicle_id] = self._make_actor(vehicle)
        for root in actor.roots:
            root.setPosHpr(vehicle.x_m, vehicle.y_m, 0.0, float(np.rad2deg(vehicle.yaw_rad)), 0, 0)
        lit, dark = actor.lamps[True], actor.lamps[False]
        (lit if vehicle.brake_lamp else dark).show()
        (dark if vehicle.brake_lamp else lit).hide()
        _set_class(actor.label_body, kind)
        lead = kind is PixelClass.LEAD_VEHICLE
        lamp = PixelClass.LEAD_BRAKE_LAMP_ON if lead else PixelClass.BRAKE_LAMP_ON
        actor.label_lamp.show() if vehicle.brake_lamp else actor.label_lamp.hide()
        _set_class(actor.label_lamp, lamp)

    def _make_actor(self, vehicle: Vehicle) -> _Actor:
        kind, colour = vehicle.kind, vehicle.colour_rgb
        seen = self._seen.scene.attachNewNode(vehicle.vehicle_id)
        label = self._label.scene.attachNewNode(vehicle.vehicle_id)
        actor = _Actor(seen, label)
        shadow = self._prototype("shadow", kind)[0].copyTo(seen)
        _paint_in_order(shadow, 8)
        body = self._prototype("body", kind, colour)
        body[0].copyTo(seen)
        actor.label_body = body[1].copyTo(label)
        for lit in (True, False):
            lamp = self._prototype("lamps", kind, lit)
            actor.lamps[lit] = lamp[0].copyTo(seen)
            if lit:
                actor.label_lamp = lamp[1].copyTo(label)
        return actor

    def _prototype(self, part: str, *key: object) -> tuple[NodePath, NodePath]:
        if (part, *key) not in self._prototypes:
            if part == "shadow":
                mesh = cars.shadow(str(key[0]))
            elif part == "lamps":
                mesh = cars.lamps(str(key[0]), bool(key[1]))
            else:
                mesh = cars.body(str(key[0]), key[1], self._shade)  # type: ignore[arg-type]
            seen, label = mesh.nodes(part)
            self._prototypes[(part, *key)] = (NodePath(seen), NodePath(label))
        return self._prototypes[(part, *key)]


def _paint_in_order(node: NodePath, order: int) -> None:
    node.setBin("background", order)
    node.setDepthTest(False)
    node.setDepthWrite(False)


def _set_class(node: NodePath, kind: PixelClass) -> None:
    level = int(kind) * CLASS_STEP / 255.0
    node.setColor(level, level, level, 1.0, 1)
