"""How far planned paths are from the driven ones: ADE and FDE.

Both in the ego frame at t0, in metres in the plane. The driven path is what the same car did
later, so a different but sensible plan is counted as an error: read the figures as a check of
sanity, not of safety.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.planning.ego_history import OdometryTrack, rotation_matrix
from rsd_planner.types import EgoState, Trajectory

__all__ = ["PathError", "driven_path", "path_error"]

_MAX_GAP_S = 0.5


class PathError:
    """Path errors tick by tick; the means are computed when asked for."""

    def __init__(self) -> None:
        self._errors: list[tuple[float, float] | None] = []

    def add(self, planned: Trajectory, driven: NDArray[np.float64] | None) -> None:
        """Add a tick; one whose future was not recorded counts nothing."""
        if driven is None or len(driven) == 0:
            self._errors.append(None)
        else:
            self._errors.append(path_error(planned, driven))

    def at(self, chosen: Sequence[bool]) -> PathError:
        """The errors of some of the ticks."""
        part = PathError()
        part._errors = [e for e, wanted in zip(self._errors, chosen, strict=True) if wanted]
        return part

    @property
    def ticks(self) -> int:
        """How many ticks count."""
        return sum(error is not None for error in self._errors)

    @property
    def ade_m(self) -> float | None:
        """Mean over ticks of the mean distance along the path; None without ticks."""
        return self._mean(0)

    @property
    def fde_m(self) -> float | None:
        """Mean over ticks of the distance at the path's end; None without ticks."""
        return self._mean(1)

    def _mean(self, which: int) -> float | None:
        known = [error[which] for error in self._errors if error is not None]
        return sum(known) / len(known) if known else None


def path_error(planned: Trajectory, driven: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and final distance in metres to a driven path (points, 3) on the same time grid."""
    count = min(len(planned.position_m), len(driven))
    apart = np.linalg.norm(planned.position_m[:count, :2] - driven[:count, :2], axis=1)
    return float(apart.mean()), float(apart[-1])


def driven_path(
    track: OdometryTrack, ego: EgoState, t0_ns: int, points: int, step_s: float
) -> NDArray[np.float64] | None:
    """Where the car went (points, 3), seen from the ego pose at t0; None past the record's end."""
    stamps = t0_ns + np.round(np.arange(1, points + 1) * step_s * 1e9).astype(np.int64)
    states = track.at(stamps, _MAX_GAP_S)
    if states is None:
        return None
    positions = np.stack([state.position_m for state in states])  # (points, 3)
    rotation = rotation_matrix(ego.orientation_xyzw)
    return np.asarray((positions - ego.position_m) @ rotation, np.float64)
