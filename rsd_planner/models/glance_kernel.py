"""A glance whose every look and judgement is one call of compiled code.

A judgement takes two dozen operations of a tensor library, and launching them takes longer than
what they do, most of all between passes of the target, which leave nothing in the caches. So the
same arithmetic stands in `src/glance_kernel.cpp`, which the ROS package's build compiles. Where
that was not built, as after a bare `pip install`, and on other devices `glance_forward.Glance`
judges.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

import rsd_planner
from rsd_planner.models.drafter_files import load_drafter
from rsd_planner.models.glance import GlanceConfig, GlanceNet
from rsd_planner.models.glance_forward import OPTIONS, Glance
from rsd_planner.models.pointer import Asked

__all__ = ["KernelGlance", "find_kernel", "load_glance"]

_LANES = 16  # the kernel's matrices are whole multiples of it …
_LARGEST = 4096  # … and no wider
_LIBRARY = "libglance_kernel.so"
_VERSION = 1  # of how it is called, as in the kernel


@lru_cache(maxsize=1)
def find_kernel() -> ctypes.CDLL | None:
    """The compiled code; None where it was not built, or for another release or machine."""
    for folder in rsd_planner.__path__:
        path = Path(folder) / "models" / _LIBRARY
        if not path.exists():
            continue
        try:
            kernel = ctypes.CDLL(str(path))
            if kernel.glance_version() != _VERSION:
                continue
        except (OSError, AttributeError):
            continue
        pointer, number = ctypes.c_void_p, ctypes.c_int32
        kernel.glance_read.argtypes = [*[pointer] * 4, number, *[pointer] * 3]
        kernel.glance_judge.argtypes = [
            *[pointer] * 3, *[number] * 2, *[pointer] * 3, number, *[pointer] * 2,
        ]  # fmt: skip
        return kernel
    return None


class KernelGlance(Glance):
    """`Glance` by compiled code, on the CPU."""

    def __init__(self, net: GlanceNet, kernel: ctypes.CDLL) -> None:
        super().__init__(net)
        self._kernel = kernel
        self._arrays = self._laid_out(net)
        self._struct = _struct(self._numbers_of(net), net.norm.eps, self._arrays)
        self._net_address = ctypes.addressof(self._struct)
        self._rows = np.zeros((self.config.longest + 1, self.config.hidden), np.float32)
        self._rows_address = self._rows.ctypes.data
        self._old = array("i")
        self._make_room(256)

    def _laid_out(self, net: GlanceNet) -> dict[str, NDArray[np.float32]]:
        """The weights as the kernel reads them, in its order."""
        gain, shift = net.norm.weight.detach(), net.norm.bias.detach()
        squeeze = net.squeeze.weight.detach()
        found = {
            "squeeze": (squeeze * gain).T,
            "squeeze_bias": net.squeeze.bias.detach() + squeeze @ shift,
            "see": self._see,
            "motion": self._motion,
            "still": self._still,
            "since": self._since,
            "words": self._words,
            "bag": self._bag,
            "old_bag": self._old_bag,
            "pointed": self._pointed_words,
            "widen": self._widen,
            "widen_bias": self._widen_bias,
            "narrow": self._narrow,
            "answer": self._answer,
            "answer_bias": self._answer_bias,
        }
        return {name: _dense(values) for name, values in found.items()}

    def _numbers_of(self, net: GlanceNet) -> dict[str, int]:
        """The sizes that the kernel asks for, in its order."""
        config = self.config
        return {
            "size": config.size,
            "answers": self._arrays["answer_bias"].size,
            "hidden": config.hidden,
            "wide": net.widen.out_features,
            "context": config.context,
            "longest": config.longest,
            "pictures": len(config.seen),
            "picture_tokens": config.picture_tokens,
            "visual_width": config.visual_width,
            "squeezed": config.squeezed,
            "squeezed_width": self._arrays["squeeze_bias"].size,
            "motion_width": config.motion_width,
        }

    def _make_room(self, rows: int) -> None:
        self._options_out = np.zeros((rows, OPTIONS), np.int32)
        self._chances_out = np.zeros((rows, OPTIONS), np.float32)
        self._out = self._options_out.ctypes.data, self._chances_out.ctypes.data

    def read(
        self,
        pictures: Sequence[Tensor],
        motion: NDArray[np.float32],
        old: Sequence[int],
        since_s: Sequence[float],
        since_m: Sequence[float],
    ) -> None:
        """As `Glance.read`."""
        config = self.config
        self._old = array("i", old[: config.longest])
        count = len(self._old)
        shown = [pictures[index].float().contiguous() for index in config.seen]
        addresses = (ctypes.c_void_p * len(shown))(*(one.data_ptr() for one in shown))
        since = array("f", since_s[:count]), array("f", since_m[:count])
        motion = np.ascontiguousarray(motion, np.float32)
        if motion.shape != (config.motion_width,) or not count == len(since[0]) == len(since[1]):
            raise ValueError("the motion or the ages of a last text do not fit the drafter")
        failed = self._kernel.glance_read(
            self._net_address,
            addresses,
            motion.ctypes.data,
            self._old.buffer_info()[0],
            count,
            *(one.buffer_info()[0] for one in since),
            self._rows_address,
        )
        if failed:
            raise ValueError("a last text holds tokens that are not in the drafter's vocabulary")

    def _likeliest(self, asked: Sequence[Asked]) -> tuple[list[list[int]], list[list[float]]]:
        lengths, tokens, places = array("i"), array("i"), array("i")
        for one in asked:
            lengths.extend((len(one.text), len(one.guess)))
            tokens.extend(one.text)
            tokens.extend(one.guess)
            places.extend(one.places)
        if len(places) > len(self._options_out):
            self._make_room(2 * len(places))
        rows = self._kernel.glance_judge(
            self._net_address,
            self._rows_address,
            self._old.buffer_info()[0],
            len(self._old),
            len(asked),
            lengths.buffer_info()[0],
            tokens.buffer_info()[0],
            places.buffer_info()[0],
            len(places),
            *self._out,
        )
        if rows != len(places):
            raise ValueError("asked of tokens or places that the drafter does not know")
        return self._options_out[:rows].tolist(), self._chances_out[:rows].tolist()


def load_glance(weights: Path, facts: Path, device: str = "cpu") -> Glance:
    """A drafter's network from its two files, by compiled code where there is some.

    Raises:
        ConfigError: a file is damaged, or the two do not belong together.
    """

    def make(raw: dict[str, Any]) -> GlanceNet:
        lists = {name: tuple(raw[name]) for name in ("vocabulary", "seen")}
        return GlanceNet(GlanceConfig(**{**raw, **lists}))

    net = load_drafter(weights, facts, make, "rsd train glance")
    kernel = find_kernel()
    if kernel is None or torch.device(device).type != "cpu" or not _can_run(net):
        return Glance(net, device)
    return KernelGlance(net, kernel)


def _can_run(net: GlanceNet) -> bool:
    """Whether the kernel can run a network of this size."""
    config = net.config
    widths = (config.hidden, net.widen.out_features, config.visual_width)
    return (
        config.hidden % _LANES == 0
        and net.widen.out_features % _LANES == 0
        and len(config.vocabulary) >= OPTIONS
        and max(*widths, config.size + _LANES, 4 * (config.squeezed + _LANES)) <= _LARGEST
    )


def _struct(
    numbers: Mapping[str, int], epsilon: float, matrices: Mapping[str, NDArray[np.float32]]
) -> ctypes.Structure:
    """`Net` of the kernel; the matrices stay where they are."""

    class Net(ctypes.Structure):
        _fields_ = (
            *((name, ctypes.c_int32) for name in numbers),
            ("epsilon", ctypes.c_float),
            *((name, ctypes.c_void_p) for name in matrices),
        )

    pointers = {name: values.ctypes.data for name, values in matrices.items()}
    return Net(**numbers, epsilon=epsilon, **pointers)


def _dense(values: Tensor) -> NDArray[np.float32]:
    """Weights as the kernel reads them; columns of zeros fill up what is no whole multiple."""
    short = -values.shape[-1] % _LANES
    padded = functional.pad(values.detach().float(), (0, short))
    return np.ascontiguousarray(padded.numpy())
