"""Draws what the cameras see, with Panda3D's software renderer: no display, no GPU.

For each camera one picture for the eye, drawn twice as large and averaged down, and one flat id
picture that says what every pixel shows. One renderer a process. It knows nothing of why things
happen.
"""

from __future__ import annotations

from collections.abc import Sequence
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

from rsd_planner.simulation.actors import Actors
from rsd_planner.simulation.backdrop import Surroundings
from rsd_planner.simulation.classes import CLASS_STEP
from rsd_planner.simulation.scene import CameraMount, Drive, Snapshot
from rsd_planner.simulation.stage import Eye, Stage
from rsd_planner.simulation.weather import Finish, look_of
from rsd_planner.types import CameraModel

__all__ = [
    "CAMERA_NAME",
    "CAMERA_NAMES",
    "ID_SIZE",
    "CameraRenderer",
    "Picture",
    "camera_model",
    "front_wide_camera",
]

loadPrcFileData(
    "",
    "load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\n"
    "sync-video false\nnotify-level-x11display fatal\nnotify-level-tinydisplay error",
)

CAMERA_NAME = "front_wide"
ID_SIZE = (256, 128)  # width, height of the id picture
_YAWS_DEG = {CAMERA_NAME: 0.0, "front_left": 55.0, "front_right": -55.0}
CAMERA_NAMES = tuple(_YAWS_DEG)
_SIZE = (640, 320)
_FIELD_OF_VIEW_DEG = 66.0
_AHEAD_M = 1.9  # of all cameras, from base_link
_SUPERSAMPLING = 2
_NEAR_M, _FAR_M = 0.3, 900.0  # nothing reaches the end: the renderer clips badly there


def camera_model(name: str, mount: CameraMount | None = None) -> CameraModel:
    """A camera that the renderer draws: intrinsics in pixels, pose in the ego frame.

    `name` is one of `CAMERA_NAMES`; without a mount the nominal one is meant.
    """
    mount = mount or CameraMount()
    width, height = _SIZE
    focal = width / 2 / np.tan(np.deg2rad(_FIELD_OF_VIEW_DEG / 2))
    pitch, yaw = np.deg2rad(mount.pitch_down_deg), np.deg2rad(_YAWS_DEG[name])
    ahead = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    forward = np.cos(pitch) * ahead - np.array([0.0, 0.0, np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = _AHEAD_M, 0.0, mount.height_m
    return CameraModel(
        width, height, focal, focal, (width - 1) / 2, (height - 1) / 2, pose_ego_from_camera=pose
    )


def front_wide_camera(mount: CameraMount | None = None) -> CameraModel:
    """The camera that looks straight ahead."""
    return camera_model(CAMERA_NAME, mount)


@dataclass(frozen=True)
class Picture:
    """What the camera sees and what every (coarser) pixel of it is."""

    image: NDArray[np.uint8]  # (320, 640, 3) RGB
    classes: NDArray[np.uint8]  # (128, 256) PixelClass, as if there were no weather
    visibility_m: float = float("inf")  # what is farther away cannot be recognised in the image


class _View:
    """One offscreen buffer that looks at one scene."""

    def __init__(
        self, engine: GraphicsEngine, scene: NodePath, size: tuple[int, int], yaw_deg: float
    ) -> None:
        properties = FrameBufferProperties()
        properties.setRgbColor(True)
        properties.setDepthBits(24)
        self.size = size
        self.yaw_deg = yaw_deg
        pipe = GraphicsPipeSelection.getGlobalPtr().makeDefaultPipe()
        self.buffer = engine.makeOutput(
            pipe, "view", 0, properties, WindowProperties.size(*size), GraphicsPipe.BFRefuseWindow
        )
        self._texture = Texture()
        self.buffer.addRenderTexture(self._texture, GraphicsOutput.RTMCopyRam)
        lens = PerspectiveLens()
        model = front_wide_camera()
        lens.setFilmSize(model.width, model.height)
        lens.setFocalLength(model.focal_x_px)
        lens.setNearFar(_NEAR_M, _FAR_M)
        self.camera = scene.attachNewNode(Camera("camera", lens))
        self.buffer.makeDisplayRegion().setCamera(self.camera)

    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 4) BGRA, top row first."""
        raw = np.frombuffer(self._texture.getRamImage(), np.uint8)
        return raw.reshape(self.size[1], self.size[0], 4)[::-1]


class CameraRenderer:
    """Draws one drive for one or several cameras. Make a new one for the next after `close`."""

    def __init__(self, drive: Drive, cameras: Sequence[str] = (CAMERA_NAME,)) -> None:
        look = look_of(drive.weather)
        self._mount = drive.mount
        self._visibility_m = look.visibility_m
        self._stage = Stage(look)
        self._surroundings = Surroundings(self._stage, drive)
        self._actors = Actors(self._stage, drive)
        self._finish = Finish(drive.weather, drive.mount.exposure, drive.seed, _SIZE)
        self._engine = GraphicsEngine.getGlobalPtr()
        large = (_SUPERSAMPLING * _SIZE[0], _SUPERSAMPLING * _SIZE[1])
        self._views = {
            name: (
                _View(self._engine, self._stage.seen, large, _YAWS_DEG[name]),
                _View(self._engine, self._stage.label, ID_SIZE, _YAWS_DEG[name]),
            )
            for name in cameras
        }

    def close(self) -> None:
        """Frees the buffers."""
        for views in self._views.values():
            for view in views:
                self._engine.removeWindow(view.buffer)
        self._stage.close()

    def render(self, snapshot: Snapshot) -> Picture:
        """The first camera's picture at the snapshot's ego pose."""
        return next(iter(self.render_all(snapshot).values()))

    def classes(self, snapshot: Snapshot) -> NDArray[np.uint8]:
        """The first camera's id picture alone, at a third of the cost."""
        self._draw(snapshot, seen=False)
        return _classes(next(iter(self._views.values()))[1])

    def render_all(self, snapshot: Snapshot) -> dict[str, Picture]:
        """All cameras' pictures by name."""
        self._draw(snapshot, seen=True)
        return {name: self._picture(*views, snapshot) for name, views in self._views.items()}

    def _draw(self, snapshot: Snapshot, seen: bool) -> None:
        eye = self._pose_cameras(snapshot)
        for for_the_eye, _ in self._views.values():
            for_the_eye.buffer.setActive(seen)
        self._surroundings.show(snapshot, eye)
        self._actors.show(snapshot, eye)
        if self._stage.foggy:
            self._surroundings.fog(snapshot, eye)
            self._actors.fog(eye)
        self._engine.renderFrame()

    def _picture(self, seen: _View, label: _View, snapshot: Snapshot) -> Picture:
        small = cv2.resize(seen.pixels(), _SIZE, interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(small, cv2.COLOR_BGRA2RGB).astype(np.uint8, copy=False)
        image = self._finish(image, snapshot.time_s, seen.yaw_deg)
        return Picture(image, _classes(label), self._visibility_m)

    def _pose_cameras(self, snapshot: Snapshot) -> Eye:
        yaw = snapshot.ego_yaw_rad
        ahead = np.array([np.cos(yaw), np.sin(yaw)])
        x, y = np.array([snapshot.ego_x_m, snapshot.ego_y_m]) + _AHEAD_M * ahead
        heading = float(np.rad2deg(yaw)) - 90.0
        height, pitch = self._mount.height_m, -self._mount.pitch_down_deg
        for views in self._views.values():
            for view in views:
                view.camera.setPosHpr(x, y, height, heading + view.yaw_deg, pitch, 0.0)
        return Eye(np.array([x, y]), ahead)


def _classes(label: _View) -> NDArray[np.uint8]:
    levels = label.pixels()[:, :, 2]
    return ((levels.astype(np.uint16) + CLASS_STEP // 2) // CLASS_STEP).astype(np.uint8)
