"""Packed layers say what they said, and only what no longer learns is packed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rsd_planner.models.packed_linear import pack_linears, warm_up_rows


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 96), nn.SiLU(), nn.Linear(96, 33, bias=False))


@pytest.mark.parametrize("shape", [(1, 48), (2, 48), (13, 48), (3, 70, 48), (0, 48)])
@torch.inference_mode()
def test_the_same_numbers_at_any_width(net: nn.Module, shape: tuple[int, ...]) -> None:
    rows = torch.randn(*shape)
    before = net(rows)
    assert pack_linears(net) == 2
    torch.testing.assert_close(net(rows), before, atol=1e-6, rtol=1e-5)


def test_it_is_still_a_linear_layer_with_its_weights(net: nn.Module) -> None:
    names = list(net.state_dict())
    weights = {name: value.clone() for name, value in net.state_dict().items()}
    pack_linears(net)
    assert isinstance(net[0], nn.Linear)
    assert list(net.state_dict()) == names
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert pack_linears(net) == 0, "once"


@torch.inference_mode()
def test_a_copy_is_a_plain_layer(net: nn.Module) -> None:
    pack_linears(net)
    other = copy.deepcopy(net)
    assert type(other[0]) is nn.Linear
    assert other[0].weight is not net[0].weight
    rows = torch.randn(7, 48)
    torch.testing.assert_close(other(rows), net(rows), atol=1e-6, rtol=1e-5)


def test_gradients_flow_as_before(net: nn.Module) -> None:
    pack_linears(net)
    rows = torch.randn(5, 48, requires_grad=True)
    net(rows).sum().backward()
    assert rows.grad is not None and net[0].weight.grad is not None


@pytest.mark.parametrize("reason", ["half", "large"])
def test_others_stay_as_they_are(net: nn.Module, reason: str) -> None:
    if reason == "half":
        net.to(torch.bfloat16)
    assert pack_linears(net, most_bytes=100 if reason == "large" else 1 << 30) == 0
    assert all(type(layer) is nn.Linear for layer in net if isinstance(layer, nn.Linear))


class Attending(nn.Module):
    """Layers by the names of the transformers' classes."""

    def __init__(self, bias: bool = False, odd: bool = False) -> None:
        super().__init__()
        self.q_proj = nn.Linear(48, 32, bias=bias)
        self.k_proj = nn.Linear(48, 16, bias=bias or odd)
        self.v_proj = nn.Linear(48, 16, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.q_proj(x), self.k_proj(x), self.v_proj(x)], dim=-1)


@pytest.mark.parametrize(("bias", "odd"), [(False, False), (True, False), (False, True)])
@torch.inference_mode()
def test_layers_that_read_the_same_are_one_multiplication(bias: bool, odd: bool) -> None:
    torch.manual_seed(0)
    net = Attending(bias, odd)
    inputs = [torch.randn(1, rows, 48) for rows in (1, 2, 13, 300)]
    before = [net(rows) for rows in inputs]
    assert pack_linears(net) == 3
    assert (net.q_proj.group is net.v_proj.group) is not odd
    for _ in range(2):
        for rows, expected in zip(inputs, before, strict=True):
            torch.testing.assert_close(net(rows), expected, atol=1e-6, rtol=1e-5)


@torch.inference_mode()
def test_an_answer_of_a_group_is_never_that_to_another_input() -> None:
    net = Attending()
    plain = copy.deepcopy(net)
    pack_linears(net)
    first, second = torch.randn(2, 1, 5, 48).unbind()
    net.q_proj(first)  # nobody asks for the keys and values
    torch.testing.assert_close(net.k_proj(second), plain.k_proj(second), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(net(first), plain(first), atol=1e-6, rtol=1e-5)
    assert net.q_proj.group._input is None, "nothing is kept alive"


@torch.inference_mode()
def test_warming_up_changes_no_number() -> None:
    net = Attending()
    warm_up_rows(net, [2, 3])  # not packed: nothing to make
    pack_linears(net)
    rows = torch.randn(1, 3, 48)
    before = net(rows)
    warm_up_rows(net, [2, 3])
    assert torch.equal(net(rows), before)
