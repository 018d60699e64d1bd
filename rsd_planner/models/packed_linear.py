"""Linear layers with their weights laid out for the CPU's matrix kernels, once and not each time.

A forward that verifies a draft has a dozen rows. There the usual kernels spend as long on laying
out the weights as on multiplying, and even a prompt of hundreds of rows pays for it. Layers that
read the same input (queries, keys and values; gate and up) become one multiplication. Results are
those of the usual layers up to rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MOST_BYTES", "is_packed", "pack_linears", "warm_up_rows"]

MOST_BYTES = 1 << 30  # the laid out weights are a second copy: a large model goes without
TOGETHER = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class _Group:
    """Layers that are asked one after the other with the same input, multiplied as one."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        biases = [layer.bias for layer in layers if layer.bias is not None]
        self._sizes = [layer.out_features for layer in layers]
        self._weight = _packed(torch.cat([layer.weight.detach() for layer in layers]))
        self._bias = torch.cat([bias.detach() for bias in biases]) if biases else None
        self._input: Tensor | None = None
        self._outputs: tuple[Tensor, ...] = ()

    def output(self, index: int, input: Tensor) -> Tensor:
        """What layer `index` makes of an input; the last one's answer ends the input's time."""
        if input is not self._input:
            self._outputs = self.multiply(input).split(self._sizes, dim=-1)
            self._input = input
        out = self._outputs[index]
        if index == len(self._sizes) - 1:
            self._input, self._outputs = None, ()
        return out

    def multiply(self, input: Tensor) -> Tensor:
        """All layers' outputs side by side."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(
            input, self._weight, self._bias, "none", [], ""
        )
        return out


class _PackedLinear(nn.Linear):
    """An `nn.Linear` of frozen weights. One row is read as it lies: packing does not help it."""

    group: _Group
    place: int  # in the group

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Linear:
        """A plain layer: a copy's weights may change, and packed ones cannot be copied."""
        plain = nn.Linear.__new__(nn.Linear)
        memo[id(self)] = plain
        own = {name: value for name, value in self.__dict__.items() if name != "group"}
        plain.__dict__ = copy.deepcopy(own, memo)
        return plain

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() == input.shape[-1] or torch.is_grad_enabled():
            return functional.linear(input, self.weight, self.bias)
        return self.group.output(self.place, input)


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
        for together in [*_groups(module), *([layer] for layer in layers)]:
            if type(together[0]) is _PackedLinear:
                continue
            group = _Group(together)
            for place, layer in enumerate(together):
                layer.__class__ = _PackedLinear
                vars(layer).update(group=group, place=place)
    return len(layers)


def is_packed(module: nn.Module) -> bool:
    """Whether `pack_linears` packed a module's layers."""
    return any(isinstance(layer, _PackedLinear) for layer in module.modules())


@torch.inference_mode()
def warm_up_rows(module: nn.Module, rows: Sequence[int]) -> None:
    """Multiply so many rows at once by every packed layer of a module.

    The kernels for a new number of rows are made when it first occurs, which takes as long as
    a whole forward.
    """
    groups = {
        layer.group: layer.in_features
        for layer in module.modules()
        if isinstance(layer, _PackedLinear)
    }
    shapes = {(size, sum(group._sizes)): group for group, size in groups.items()}
    for (size, _), group in shapes.items():
        for count in rows:
            group.multiply(torch.zeros(1, count, size))


def _groups(module: nn.Module) -> list[list[nn.Linear]]:
    """Layers of one parent that multiply together."""
    found = []
    for parent in module.modules():
        for names in TOGETHER:
            named = [getattr(parent, name, None) for name in names]
            layers = [layer for layer in named if type(layer) is nn.Linear]
            if len(layers) == len(names) and _alike(layers):
                found.append(layers)
    return found


def _alike(layers: Sequence[nn.Linear]) -> bool:
    return (
        len({layer.in_features for layer in layers}) == 1
        and len({layer.bias is None for layer in layers}) == 1
    )


def _packed(weight: Tensor) -> Tensor:
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight)
    return packed
