"""The ticks at which a target is most wrong, as pictures and words for a page."""

from __future__ import annotations

import base64
from collections import Counter
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.evaluation.grounding import CANONICAL_CAUSES
from rsd_planner.evaluation.paths import ade, distances
from rsd_planner.evaluation.target import Answers, Ticks
from rsd_planner.types import CameraModel
from rsd_planner.viz.overlay import draw_path, project_points, scale_camera

__all__ = ["rank", "worst_ticks"]

_APART_NS = 3_000_000_000
_OF_A_KIND = 3
_WIDTH = 640


def rank(ticks: Ticks, given: Answers, count: int) -> list[int]:
    """The worst ticks, worst first, but no two alike.

    Wrong causes weigh most, then a wrong decision and the path's error. Of each combination of
    missed and invented causes there are at most three, and no two ticks of a drive are within
    three seconds.
    """
    wrong = (ticks.truth ^ given.said).sum(axis=1)
    apart = ade(distances(given.paths, ticks.driven), 3.0)
    badness = wrong + (ticks.decision != given.decision) + np.minimum(apart / 2.0, 1.5)
    stamps, kinds, chosen = ticks.data.stamps_ns[ticks.now], Counter[bytes](), list[int]()
    for tick in np.argsort(-badness, kind="stable"):
        kind = (ticks.truth[tick] ^ given.said[tick]).tobytes()
        near = any(
            ticks.drive[tick] == ticks.drive[c] and abs(stamps[tick] - stamps[c]) < _APART_NS
            for c in chosen
        )
        if near or kinds[kind] == _OF_A_KIND:
            continue
        kinds[kind] += 1
        chosen.append(int(tick))
        if len(chosen) == count:
            break
    return chosen


def worst_ticks(ticks: Ticks, given: Answers, count: int = 24) -> list[dict[str, Any]]:
    """For each of the worst ticks: image (base64 JPEG), chips, said, true and where."""
    apart = ade(distances(given.paths, ticks.driven), 3.0)
    return [_describe(ticks, given, tick, float(apart[tick])) for tick in rank(ticks, given, count)]


def _describe(ticks: Ticks, given: Answers, tick: int, ade_m: float) -> dict[str, Any]:
    data, frame = ticks.data, int(ticks.now[tick])
    drive = data.drives[data.drive[frame]]
    seconds = (data.stamps_ns[frame] - data.stamps_ns[data.drive == data.drive[frame]][0]) * 1e-9
    picture = data.pictures([frame])[0]
    image = _draw(picture, drive.camera, given.paths[tick], ticks.driven[tick])
    return {
        "image": _jpeg(image),
        "chips": _chips(ticks, given, tick),
        "said": given.texts[tick],
        "true": data.texts[frame],
        "where": f"seed {drive.seed}, {seconds:.1f} s, {drive.network}, {drive.weather}; "
        f"ADE at 3 s {ade_m:.1f} m",
    }


def _chips(ticks: Ticks, given: Answers, tick: int) -> list[dict[str, Any]]:
    chips = []
    for index, name in enumerate(CANONICAL_CAUSES):
        true, said = ticks.truth[tick, index], given.said[tick, index]
        if true or said:
            word = "" if true and said else "missed: " if true else "not there: "
            chips.append({"text": word + name.replace("_", " "), "right": bool(true and said)})
    wanted = ticks.decisions[ticks.decision[tick]]
    found = given.parsed[tick].decision.name.lower()
    text = wanted if wanted == found else f"{found} instead of {wanted}"
    return [{"text": text, "right": wanted == found}, *chips]


def _draw(
    picture: NDArray[np.uint8],
    camera: CameraModel | None,
    planned: NDArray[np.float64],
    driven: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """The picture, larger, with the planned path as a ribbon and the driven one as a line."""
    height = _WIDTH * picture.shape[0] // picture.shape[1]
    large = cv2.resize(picture, (_WIDTH, height), interpolation=cv2.INTER_CUBIC)
    image = np.asarray(large, np.uint8)
    if camera is None:
        return image
    scaled = scale_camera(camera, _WIDTH, height)
    flat = np.zeros((len(planned), 1))
    image = draw_path(image, scaled, np.concatenate([planned, flat], axis=1))
    pixels, depth = project_points(np.concatenate([driven, flat], axis=1), scaled)
    line = np.clip(pixels[depth > 1.0] * 16, -30000, 30000).round().astype(np.int32)
    cv2.polylines(image, [line], False, (255, 255, 255), 2, cv2.LINE_AA, 4)
    return image


def _jpeg(image: NDArray[np.uint8]) -> str:
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    return base64.b64encode(np.asarray(data).tobytes()).decode()
