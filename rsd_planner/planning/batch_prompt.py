"""The prompt of many ticks at once, which all show as many pictures of one size.

Token for token the planner's; only the history's tokens differ from tick to tick.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.flat_rope import mrope_positions
from rsd_planner.planning.prompt import make_prompt_builder

__all__ = ["BatchPrompt"]


class BatchPrompt:
    """What is the same for all ticks, and their token ids."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        grid_thw: tuple[int, int, int],
        pictures: int,
        camera: str = "front_wide",
    ) -> None:
        """`grid_thw` are a picture's patches, `pictures` how many of one camera a tick shows."""
        vla = checkpoint.vla
        self._config = vla.config
        self.grids = [grid_thw] * pictures
        self._merge = vla.vlm.config.vision_config.spatial_merge_size
        tokens = grid_thw[1] * grid_thw[2] // self._merge**2
        layout = ((camera, tokens),) * pictures
        self.template = make_prompt_builder(checkpoint).template(layout)  # (prompt,)
        self.is_image = self.template == vla.vlm.config.image_token_id  # (prompt,)
        self._is_history = self.template == checkpoint.codec.id_of("<|traj_history|>")

    @property
    def positions(self) -> NDArray[np.int64]:
        """(3, prompt) the target's rotary positions."""
        return mrope_positions(self.is_image, self.grids, self._merge)

    def history(self, history_xyz: NDArray[np.floating]) -> NDArray[np.int64]:
        """The history's token ids (ticks, tokens) of positions (ticks, steps, 3) [m]."""
        bins = self._config.history_tokens.encode(history_xyz.astype(np.float64))
        ids: NDArray[np.int64] = bins + self._config.history_token_start
        return ids

    def ids(self, history: NDArray[np.int64]) -> NDArray[np.int64]:
        """The prompts (ticks, prompt) with these histories' token ids (ticks, tokens)."""
        ids = np.repeat(self.template[None], len(history), axis=0)
        ids[:, self._is_history] = history
        return ids
