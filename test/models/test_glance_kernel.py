"""The glance in compiled code says what it says in torch, for networks of any size."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from rsd_planner.models import glance_kernel
from rsd_planner.models.glance import GlanceConfig, GlanceNet, save_glance
from rsd_planner.models.glance_forward import Glance
from rsd_planner.models.glance_kernel import KernelGlance, find_kernel, load_glance
from rsd_planner.models.pointer import NOTHING, UNKNOWN, Asked, Pointer

WORDS = 50  # in the vocabulary


def network(seed: int = 0, **sizes: int) -> GlanceNet:
    torch.manual_seed(seed)
    values = {"motion_width": 9, "history_steps": 5, "pictures": 4, "picture_tokens": 6}
    values |= {"visual_width": 20, "squeezed": 5, "hidden": 32, **sizes}
    facts = {"target_vocab_size": 900, "end_token": 107, "seen": (0, 3)}
    net = GlanceNet(GlanceConfig(tuple(range(100, 100 + WORDS)), **facts, **values))
    with torch.no_grad():  # nothing is at its first value, so that nothing may be left out
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return net.eval()


class Tick:
    """What a network may be asked."""

    def __init__(self, net: GlanceNet, seed: int, old: int = 17) -> None:
        rng = np.random.default_rng(seed)
        config = net.config
        shape = (config.pictures, config.picture_tokens, config.visual_width)
        self.pictures = list(torch.from_numpy(rng.normal(2.0, 3.0, shape)).float())
        self.motion = rng.normal(size=config.motion_width).astype(np.float32)
        self.old = tuple(rng.integers(0, config.size, old).tolist())
        self.since = rng.exponential(20.0, old).tolist(), rng.exponential(500.0, old).tolist()
        self.rng, self.size = rng, config.size

    def read_by(self, glance: Glance) -> None:
        glance.read(self.pictures, self.motion, self.old, *self.since)

    def asked(self, lengths: Sequence[tuple[int, int]]) -> list[Asked]:
        """Ends of texts; for each how long it is, and its guess."""
        found = []
        for length, guess in lengths:
            text = tuple(self.rng.integers(0, self.size, length + guess).tolist())
            start = self.old[: length // 2]
            text = start + text[len(start) :]
            places = Pointer(self.old).along(text)[length:]
            found.append(Asked(text[:length], text[length:], places))
        return found


def built() -> ctypes.CDLL:
    kernel = find_kernel()
    assert kernel is not None, "`make build` makes it"
    return kernel


def kernel_of(net: GlanceNet) -> KernelGlance:
    return KernelGlance(net, built())


@pytest.fixture(params=[16, 8, 4])
def lanes(request: pytest.FixtureRequest) -> Iterator[int]:
    """Vectors as other machines have them; this one may have none so wide."""
    yield built().glance_lanes(request.param)
    built().glance_lanes(16)


@pytest.mark.parametrize(
    ("sizes", "old"),
    [
        ({}, 17),
        ({}, 0),
        ({"hidden": 128, "squeezed": 24, "picture_tokens": 32, "visual_width": 256}, 40),
        ({"context": 1, "picture_tokens": 1, "motion_width": 1, "longest": 7}, 17),
        ({"hidden": 48, "squeezed": 16, "visual_width": 33}, 3),
    ],
)
def test_it_says_what_torch_says(lanes: int, sizes: dict[str, int], old: int) -> None:
    net = network(**sizes)
    ours, torchs = kernel_of(net), Glance(net)
    for seed in range(3):
        tick = Tick(net, seed, old)
        tick.old = tick.old[: net.config.longest]
        tick.read_by(ours)
        tick.read_by(torchs)
        for lengths in ([(0, 20)], [(3, 0)], [(9, 5), (1, 0), (0, 0), (4, 11)], [(30, 300)]):
            asked = tick.asked(lengths)
            for mine, theirs in zip(ours.judge(asked), torchs.judge(asked), strict=True):
                assert len(mine) == len(theirs)
                for place, expected in zip(mine, theirs):
                    (tokens, chances), (others, right) = zip(*place), zip(*expected)
                    np.testing.assert_allclose(chances, right, rtol=1e-3, atol=1e-5)
                    near = np.abs(np.diff(right)) < 1e-5  # of which either may come first
                    assert tokens == others or near.any()


def test_what_is_known_of_one_text_is_forgotten_with_the_next() -> None:
    net = network()
    glance = kernel_of(net)
    first, second = Tick(net, 0, 30), Tick(net, 1, 4)
    asked = second.asked([(2, 3)])
    second.read_by(glance)
    alone = glance.judge(asked)
    first.read_by(glance)
    assert glance.judge(asked) != alone
    second.read_by(glance)
    assert glance.judge(asked) == alone


@pytest.mark.parametrize(
    "wrong",
    [
        Asked((WORDS + 2,), (), [0]),
        Asked((-1,), (), [0]),
        Asked((), (3,), [0, 18]),
        Asked((), (), [-1]),
        Asked((), (3, 3), [0, 0]),
    ],
)
def test_what_it_does_not_know_is_an_error_and_reads_no_foreign_memory(wrong: Asked) -> None:
    net = network()
    glance, tick = kernel_of(net), Tick(net, 0)
    tick.read_by(glance)
    with pytest.raises(ValueError, match="does not know"):
        glance.judge([wrong])
    tick.old = (*tick.old[:-1], WORDS + 2)
    with pytest.raises(ValueError, match="vocabulary"):
        tick.read_by(glance)


def test_what_does_not_fit_is_an_error() -> None:
    net = network()
    glance = kernel_of(net)
    short, young = Tick(net, 0), Tick(net, 0)
    short.motion = short.motion[:-1]
    young.since = young.since[0][:-1], young.since[1]
    for wrong in (short, young):
        with pytest.raises(ValueError, match="do not fit"):
            wrong.read_by(glance)


def test_what_is_no_number_stays_none(lanes: int) -> None:
    net = network()
    glance, tick = kernel_of(net), Tick(net, 0)
    tick.motion[3] = np.nan
    tick.read_by(glance)
    (judged,) = glance.judge(tick.asked([(0, 5)]))
    assert not any(chance >= 0.0 for place in judged for _, chance in place)


def test_nobody_says_a_place_that_stands_for_no_token() -> None:
    net = network()
    glance = kernel_of(net)
    for seed in range(5):
        tick = Tick(net, seed)
        tick.old = (UNKNOWN, NOTHING) * 5
        tick.since = [0.0] * 10, [0.0] * 10
        tick.read_by(glance)
        (judged,) = glance.judge(tick.asked([(0, 30)]))
        assert all(token > NOTHING for place in judged for token, _ in place)


def saved(net: GlanceNet, folder: Path) -> tuple[Path, Path]:
    save_glance(folder / "glance", net, {})
    return folder / "glance.safetensors", folder / "glance.json"


def test_a_network_runs_in_torch_where_the_kernel_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = saved(network(), tmp_path)
    assert type(load_glance(*files)) is KernelGlance
    assert type(load_glance(*saved(network(hidden=20), tmp_path))) is Glance
    monkeypatch.setattr(glance_kernel, "find_kernel", lambda: None)
    assert type(load_glance(*saved(network(), tmp_path))) is Glance


@pytest.mark.parametrize("content", [b"", b"no library"])
def test_a_damaged_library_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "libglance_kernel.so").write_bytes(content)
    monkeypatch.setattr("rsd_planner.__path__", [str(tmp_path)])
    assert find_kernel.__wrapped__() is None
