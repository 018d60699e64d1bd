"""Packed layers say what they said, and only what no longer learns is packed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from rsd_planner.models.packed_linear import pack_linears


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
