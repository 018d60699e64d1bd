"""Ego history as text tokens: three tokens a step, one for each axis.

The reference's convention (`DeltaTrajectoryTokenizer`): the differences between consecutive
positions, the first one from the origin of the ego frame at t0, are binned uniformly. The
first therefore saturates when the car moves. Bins are added to the trajectory vocabulary's
start by the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HistoryTokens"]


@dataclass(frozen=True)
class HistoryTokens:
    """Uniform bins over displacements in metres."""

    ego_xyz_min: tuple[float, float, float] = (-4.0, -4.0, -10.0)
    ego_xyz_max: tuple[float, float, float] = (4.0, 4.0, 10.0)
    num_bins: int = 1000

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> HistoryTokens:
        """From a checkpoint's `hist_traj_tokenizer_cfg`.

        Raises:
            ValueError: it asks for yaw tokens, which no published checkpoint has.
        """
        if values.get("predict_yaw", False):
            raise ValueError("history tokens with yaw are not supported: set predict_yaw to false")
        fields = ("ego_xyz_min", "ego_xyz_max", "num_bins")
        known = {k: values[k] for k in fields if k in values}
        for bound in ("ego_xyz_min", "ego_xyz_max"):
            if bound in known:
                known[bound] = tuple(float(v) for v in known[bound])
        return cls(**known)

    def encode(self, position_m: NDArray[np.float64]) -> NDArray[np.int64]:
        """Bins (steps · 3,), step by step in the order x y z, of positions (steps, 3).

        Works for leading batch axes too: (..., steps, 3) gives (..., steps · 3).
        """
        # fp32 and half-to-even as in the reference, so that a bin's edge falls alike.
        position = position_m.astype(np.float32)
        steps = np.diff(position, axis=-2, prepend=np.zeros_like(position[..., :1, :]))
        low = np.asarray(self.ego_xyz_min, dtype=np.float32)
        scaled = (steps - low) / (np.asarray(self.ego_xyz_max, dtype=np.float32) - low)
        bins = np.rint(scaled * np.float32(self.num_bins - 1)).astype(np.int64)
        bins = np.clip(bins, 0, self.num_bins - 1)
        return bins.reshape(*bins.shape[:-2], -1)
