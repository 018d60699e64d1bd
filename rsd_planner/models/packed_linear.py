"""Linear layers with their weights laid out for the CPU's matrix kernels, once and not each time.

A forward that verifies a draft has a dozen rows. There the usual kernels spend as long on laying
out the weights as on multiplying, and even a prompt of hundreds of rows pays for it. Results are
those of the usual layers up to rounding.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MOST_BYTES", "pack_linears"]

MOST_BYTES = 1 << 30  # the laid out weights are a second copy: a large model goes without


class _PackedLinear(nn.Linear):
    """An `nn.Linear` of frozen weights. One row is read as it lies: packing does not help it."""

    packed: Tensor

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """A plain layer: a copy's weights may change, and packed ones cannot be copied."""
        plain = nn.Linear.__new__(nn.Linear)
        memo[id(self)] = plain
        own = {name: value for name, value in self.__dict__.items() if name != "packed"}
        plain.__dict__ = copy.deepcopy(own, memo)
        return plain

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() == input.shape[-1] or torch.is_grad_enabled():
            return functional.linear(input, self.weight, self.bias)
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self.packed, self.bias, "none", [], ""
        )
        return out


def pack_linears(module: nn.Module, most_bytes: int = MOST_BYTES) -> int:
    """Pack all linear layers of a module whose weights no longer change; how many it were.

    None where they are not in fp32 on a CPU with such kernels, or hold more than `most_bytes`.
    """
    layers = [layer for layer in module.modules() if type(layer) is nn.Linear]
    weights = [layer.weight for layer in layers]
    if not torch.backends.mkldnn.is_available() or any(
        weight.device.type != "cpu" or weight.dtype != torch.float32 for weight in weights
    ):
        return 0
    if sum(weight.nbytes for weight in weights) > most_bytes:
        return 0
    with torch.no_grad():
        for layer in layers:
            layer.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
            layer.__class__ = _PackedLinear
    return len(layers)
