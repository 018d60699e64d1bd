"""The vision tower over a batch of equal pictures, with the weights of the class.

The class's own tower packs pictures and loops over them in attention; training and bulk
encoding batch them instead. A still fills both time steps of a patch with the same pixels,
so the patch kernel is summed over time. Agrees with the class to 1e-5 (a test holds them
together).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.qwen3_vl import modeling_qwen3_vl as reference

__all__ = ["BatchedTower", "patchify"]


def patchify(images: Tensor, patch: int, merge: int) -> Tensor:
    """uint8 (batch, height, width, 3) → fp32 (batch, patches, 3·patch²), in merge-block order."""
    batch, height, width, _ = images.shape
    pixels = images.float().div_(127.5).sub_(1.0)  # mean and std are both 0.5
    rows, columns = height // (patch * merge), width // (patch * merge)
    blocks = pixels.view(batch, rows, merge, patch, columns, merge, patch, 3)
    blocks = blocks.permute(0, 1, 4, 2, 5, 7, 3, 6)  # (batch, rows, columns, m, m, 3, p, p)
    return blocks.reshape(batch, rows * columns * merge * merge, 3 * patch * patch)


@dataclass(frozen=True)
class _Grid:
    """What depends on the pictures' size alone."""

    index: Tensor
    weight: Tensor
    cos: Tensor
    sin: Tensor


class BatchedTower:
    """A view of a `Qwen3VLVisionModel`; holds no weights of its own."""

    def __init__(self, tower: reference.Qwen3VLVisionModel, height: int, width: int) -> None:
        self._tower = tower
        self._patch = tower.config.patch_size
        self._merge = tower.config.spatial_merge_size
        grid = torch.tensor([[1, height // self._patch, width // self._patch]])
        self.grid_thw = (1, height // self._patch, width // self._patch)
        self._grid = self._positions(grid.to(tower.pos_embed.weight.device))

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features of uint8 images (batch, height, width, 3).

        Returns patch states (batch, patches, vision hidden), merged tokens (batch, tokens,
        text hidden), and the deepstack tokens of the chosen layers.
        """
        device = self._tower.pos_embed.weight.device
        return self.encode(patchify(images.to(device), self._patch, self._merge))

    def encode(self, patches: Tensor) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Features of normalised patches (batch, patches, 3·patch²) in merge-block order."""
        tower = self._tower
        kernel = tower.patch_embed.proj.weight.sum(dim=2).flatten(1)  # (hidden, 3·patch²)
        hidden = functional.linear(patches, kernel, tower.patch_embed.proj.bias)
        place = (tower.pos_embed(self._grid.index) * self._grid.weight[:, :, None]).sum(1)
        hidden = hidden + place
        deepstack = []
        for index, block in enumerate(tower.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden))
            hidden = hidden + block.mlp(block.norm2(hidden))
            if index in tower.deepstack_visual_indexes:
                which = tower.deepstack_visual_indexes.index(index)
                deepstack.append(self._merged(tower.deepstack_merger_list[which], hidden))
        return hidden, self._merged(tower.merger, hidden), deepstack

    @staticmethod
    def _merged(merger: Any, hidden: Tensor) -> Tensor:
        return merger(hidden.flatten(0, 1)).view(
            hidden.shape[0], -1, merger.linear_fc2.out_features
        )

    def _attend(self, attention: Any, hidden: Tensor) -> Tensor:
        batch, count, _ = hidden.shape
        packed = attention.qkv(hidden).view(batch, count, 3, attention.num_heads, -1)
        query, key, value = packed.unbind(2)  # (batch, patches, heads, size)
        query, key = reference.apply_rotary_pos_emb_vision(
            query, key, self._grid.cos, self._grid.sin
        )
        out = functional.scaled_dot_product_attention(
            query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
        )
        return attention.proj(out.transpose(1, 2).reshape(batch, count, -1))

    def _positions(self, grid: Tensor) -> _Grid:
        tower = self._tower
        index, weight = reference.get_vision_interpolation_indices_and_weights(
            grid,
            num_grid_per_side=tower.num_grid_per_side,
            mode=tower.interpolation_mode,
            align_corners=tower.interpolation_align_corners,
            spatial_merge_size=self._merge,
            kwargs={},
        )
        places = reference.get_vision_position_ids(grid, self._merge, kwargs={})
        cos, sin = tower.rotary_pos_emb(weight, places)
        return _Grid(index, weight, cos, sin)
