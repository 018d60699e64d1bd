"""The glance's network at work: what `GlanceNet.logits` learned, for the ends of one tick's texts.

A draft competes with passes of the target that take milliseconds, and launching an operation costs
more here than its arithmetic: so constants are folded together, and what does not change within a
tick is added once. On a CPU `glance_kernel.KernelGlance` goes further.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.models.glance import GlanceNet, since_features
from rsd_planner.models.pointer import NOTHING, RESERVED, UNKNOWN, Asked, Judged, places_in

__all__ = ["OPTIONS", "Glance"]

OPTIONS = 4  # tokens that are told of a place
_NO_TOKEN = -9  # no id of any target


class Glance:
    """A trained network, one tick after the other."""

    def __init__(self, net: GlanceNet, device: str = "cpu") -> None:
        self.config = config = net.config
        self._device = torch.device(device)
        self._net = net = net.to(self._device).eval()
        self._index = places_in(config.vocabulary)
        self._ids = {place: token for token, place in self._index.items()}
        self._options = min(OPTIONS, len(config.vocabulary))
        self._nothing = [NOTHING] * config.context
        with torch.no_grad():
            self._fold(net)
        self._told = self._pointed = torch.empty(0)

    def _fold(self, net: GlanceNet) -> None:
        config = self.config
        size, context = config.size, config.context
        words = net.words.weight.detach()
        self._words = words[: context * size]
        # The windows of a text have the nearest token behind, the table has it in front.
        self._offsets = torch.arange(context - 1, -1, -1, device=self._device) * size
        self._bag, self._old_bag = words[context * size :].clone().view(2, size, -1)
        self._bag[:RESERVED] = 0.0
        self._old_bag[:RESERVED] = 0.0
        self._pointed_words = net.pointed.weight.detach()
        self._since = net.since.weight.detach().T.contiguous()
        self._still = net.since.bias + net.see.bias + net.motion.bias
        self._see = net.see.weight.detach().T.contiguous()
        self._motion = net.motion.weight.detach().T.contiguous()
        self._widen = net.widen.weight.detach().T.contiguous()
        self._widen_bias = net.widen.bias.detach()
        self._narrow = net.narrow.weight.detach().T.contiguous()
        self._answer = net.answer.weight.detach().T.contiguous()
        self._answer_bias = net.answer.bias + net.narrow.bias @ self._answer
        self._answer_bias[:-1] += net.never

    def fits(self, pictures: Sequence[Tensor]) -> bool:
        """Whether a prompt's pictures (tokens, visual width) are as many and large as learned."""
        shape = (self.config.picture_tokens, self.config.visual_width)
        return len(pictures) == self.config.pictures and all(one.shape == shape for one in pictures)

    @torch.inference_mode()
    def read(
        self,
        pictures: Sequence[Tensor],
        motion: NDArray[np.float32],
        old: Sequence[int],
        since_s: Sequence[float],
        since_m: Sequence[float],
    ) -> None:
        """A tick starts: its pictures, which `fit`, the car's motion (motion_width,), and the last
        text (old,), in places of the vocabulary, with the time and way that its tokens stand.
        """
        config, net, device = self.config, self._net, self._device
        told = tuple(old[: config.longest])
        seen = torch.cat([pictures[index] for index in config.seen]).float()
        squeezed = net.squeeze(net.norm(seen)).relu_().view(1, -1)
        scene = torch.addmm(self._still, squeezed, self._see)
        scene.addmm_(torch.from_numpy(motion).to(device)[None], self._motion)
        # Behind the old text stands nothing, and nothing behind that.
        ends = torch.tensor([*told, NOTHING, NOTHING], device=device)
        if told:
            scene += self._old_bag[ends[:-2]].sum(0)
        ages = torch.zeros(len(told) + 1, 2)
        if told:
            ages[:-1] = torch.tensor([since_s[: len(told)], since_m[: len(told)]]).T
        self._pointed = ends[:-1]
        self._told = torch.addmm(scene, since_features(ages).to(device), self._since)
        self._told += self._pointed_words[ends[:-1]]
        self._told += self._pointed_words[ends[1:] + config.size]

    def known(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """The target's ids as places in the vocabulary."""
        return tuple(self._index.get(token, UNKNOWN) for token in tokens)

    def ids(self, tokens: Sequence[int]) -> tuple[int, ...]:
        """Places in the vocabulary as the target's ids; an impossible one for what is not in it."""
        return tuple(self._ids.get(token, _NO_TOKEN) for token in tokens)

    def judge(self, asked: Sequence[Asked]) -> list[Judged]:
        """Of each end of a text what may follow it and each token of its guess.

        For each the likeliest tokens with their chances, the likeliest first.
        """
        chosen, chances = self._likeliest(asked)
        options = (list(zip(*row, strict=True)) for row in zip(chosen, chances, strict=True))
        return [list(islice(options, len(one.places))) for one in asked]

    @torch.inference_mode()
    def _likeliest(self, asked: Sequence[Asked]) -> tuple[list[list[int]], list[list[float]]]:
        """The tokens and their chances at all places of all ends, one after the other."""
        context = self.config.context
        tokens: list[int] = []
        windows: list[int] = []  # of each answer, where the tokens in front of it start
        firsts: list[int] = []  # and what stands before its text
        places: list[int] = []
        for one in asked:
            before = len(tokens) + context - 1
            start = len(tokens) + len(one.text)
            count = len(one.guess) + 1
            tokens += (*self._nothing, *one.text, *one.guess)
            windows += range(start, start + count)
            firsts += [before] * count
            places += one.places
        length, rows = len(tokens), len(windows)
        every = torch.tensor(tokens + windows + places + firsts, device=self._device)
        text, starts, where, before_text = every.split([length, rows, rows, rows])
        said = self._bag[text].cumsum(0)
        front = text.unfold(0, context, 1)[starts] + self._offsets
        seen = self._words[front].sum(1)
        seen += said[starts + (context - 1)]
        if len(asked) > 1:  # else nothing stands before the text
            seen -= said[before_text]
        seen += self._told[where]
        seen.relu_()
        wide = torch.addmm(self._widen_bias, seen, self._widen).relu_()
        answers = torch.addmm(self._answer_bias, seen.addmm_(wide, self._narrow), self._answer)
        logits = answers[:, :-1]
        logits.scatter_add_(1, self._pointed[where][:, None], answers[:, -1:])
        best, choice = torch.softmax(logits, dim=-1).topk(self._options, dim=-1)
        return choice.tolist(), best.tolist()
