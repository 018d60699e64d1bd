"""The block drafter's network: what comes next in a text, from what the target has understood.

Hidden states of a few depths of the target, for the prompt (pictures included) and the committed
text, are fused into one row a token and injected into every layer as keys and values. Behind the
last committed token stand masked places; one forward fills all of them (block diffusion in one
step: DFlash, arXiv 2602.06036). Two switches:

`rope`: rotary positions of the drafter. `mrope` are the target's (t, h, w), `flat` count tokens
(FlatRoPE, arXiv 2606.31160).

`branch`: a place of the block sees the places in front of it only, and a light head knows the
token in front on its own branch, so that the tokens of a candidate fit together (JetSpec, arXiv
2606.18394). Without it every place sees the whole block and answers for itself, as in DFlash.

Tokens are places in the drafter's own vocabulary, as in `models.routine`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.models.flat_rope import flat_positions
from rsd_planner.models.pointer import NOTHING, RESERVED

__all__ = ["ROPES", "BlockBatch", "BlockConfig", "BlockNet", "Memory", "tapped_layers"]

ROPES = ("flat", "mrope")
_MASKED = -1e9
_DECAY = 12.0  # tokens behind which a place weighs a third in the loss: first ones count most

Memory = list[tuple[Tensor, Tensor]]  # of each layer: keys and values (batch, heads, rows, head)


def tapped_layers(layers: int, count: int = 3) -> tuple[int, ...]:
    """Which of a target's layers to read: spread from a quarter of its depth to the last."""
    spread = np.linspace(layers // 4, layers - 1, count)
    return tuple(sorted({round(float(layer)) for layer in spread}))


@dataclass(frozen=True)
class BlockConfig:
    """Everything that a block drafter's file says beside its weights.

    Raises:
        ValueError: `rope` is none of `ROPES`, or `taps` are not ascending layers of the target.
    """

    vocabulary: tuple[int, ...]  # the target's ids of the tokens from place 2 on
    target_vocab_size: int
    target_hidden: int  # width of the target's text stack
    target_layers: int  # and its depth
    end_token: int  # the target's id of a text's last token
    taps: tuple[int, ...]  # layers of the target that are read
    rope: str = "flat"
    branch: bool = True
    hidden: int = 160
    layers: int = 3
    heads: int = 5
    intermediate: int = 320
    block: int = 32  # most tokens of a draft
    branches: int = 1  # most candidates of a draft; more make it a tree
    rounds: int = 4  # most passes of the head over a block
    least_chance: float = 0.06  # a draft ends where it is accepted so far with less

    def __post_init__(self) -> None:
        if self.rope not in ROPES:
            raise ValueError(f"rope is {self.rope!r}, not one of {ROPES}")
        # A tap notes states in the layers' order, whatever order they were asked for in.
        layers = [layer for layer in range(self.target_layers) if layer in self.taps]
        if not self.taps or list(self.taps) != layers:
            raise ValueError(f"taps are {self.taps}, not ascending layers of {self.target_layers}")

    @property
    def size(self) -> int:
        """Places in the drafter's vocabulary."""
        return len(self.vocabulary) + RESERVED

    def places(self, target: NDArray[np.int64], start: int) -> NDArray[np.int64]:
        """The drafter's positions (3, tokens) of tokens from index `start` on.

        `target` (3, tokens) are the target's.
        """
        return flat_positions(target.shape[1], start) if self.rope == "flat" else target


@dataclass
class BlockBatch:
    """Prompts with their texts, and where in them to draft. The prompts are equally long."""

    states: Tensor  # (batch, prompt + text, taps · target hidden)
    places: Tensor  # (3, prompt + text) the drafter's positions
    prompt: int  # tokens of a prompt
    text: Tensor  # (batch, text) padded behind with NOTHING
    labels: Tensor  # (batch, text, size) the wanted distribution at each place
    anchors: Tensor  # (batch, blocks) how many tokens stand before each block; at least one


class BlockNet(nn.Module):
    """See the module. `loss` trains; `BlockReasoner` drafts with the other methods."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.config = config
        self.fuse = nn.Linear(len(config.taps) * config.target_hidden, hidden, bias=False)
        self.fused = nn.RMSNorm(hidden)
        self.tokens = nn.Embedding(config.size, hidden)
        self.before = nn.Embedding(config.size, hidden)  # of the token in front, in the head
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(hidden)
        self.mix = _Mlp(hidden, 2 * hidden)
        self.last_norm = nn.RMSNorm(hidden)
        self._rates: Tensor
        self._axes: Tensor
        self._writable: Tensor
        half = hidden // config.heads // 2
        rates = 1e4 ** (-torch.arange(half, dtype=torch.float64) / half)
        self.register_buffer("_rates", rates.float(), persistent=False)
        # t, h and w take turns, so that each has quick and slow ones.
        self.register_buffer("_axes", torch.arange(half) % 3, persistent=False)
        writable = torch.zeros(config.size)
        writable[:RESERVED] = _MASKED
        self.register_buffer("_writable", writable, persistent=False)
        for table in (self.tokens, self.before):
            nn.init.normal_(table.weight, std=hidden**-0.5)

    # Parts of a forward

    def rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin (…, 1, head / 2) of positions (3, …)."""
        angles = places.float().movedim(0, -1)[..., self._axes] * self._rates
        return angles.cos().unsqueeze(-2), angles.sin().unsqueeze(-2)

    def memory(self, states: Tensor, places: Tensor) -> Memory:
        """What all layers remember of the target's states (batch, tokens, taps · target hidden).

        `places` are (3, tokens).
        """
        deep = states.unflatten(-1, (len(self.config.taps), self.config.target_hidden))
        deep = functional.rms_norm(deep.float(), (self.config.target_hidden,))
        rows = self.fused(self.fuse(deep.flatten(-2)))  # (batch, tokens, hidden)
        rotary = self.rotary(places)
        return [layer.told(rows, rotary) for layer in self.layers]  # type: ignore[operator]

    def run(self, rows: Tensor, places: Tensor, memory: Memory, mask: Tensor | None) -> Tensor:
        """Last states (batch, rows, hidden) of rows of token embeddings.

        `places` are (3, rows) or (3, batch, rows); `mask` is bool (…, rows, memory + rows), True
        where a row sees; None: everything.
        """
        rotary = self.rotary(places)
        for layer, remembered in zip(self.layers, memory, strict=True):
            rows = layer(rows, rotary, remembered, mask)
        states: Tensor = self.norm(rows)
        return states

    def logits(self, states: Tensor, before: Tensor) -> Tensor:
        """(batch, asked, vocabulary) from last states and the tokens in front (batch, asked).

        NOTHING in front is one that is not told; without `branch` none is.
        """
        mixed = states + self.before(before) if self.config.branch else states
        mixed = self.last_norm(mixed + self.mix(mixed))
        return functional.linear(mixed, self.tokens.weight) + self._writable

    def among(self, rows: int) -> Tensor:
        """Who in a block of (last committed token, asked places) sees whom: bool (rows, rows)."""
        everyone = torch.ones(rows, rows, dtype=torch.bool, device=self._rates.device)
        return everyone.tril() if self.config.branch else everyone

    # Training

    def loss(self, batch: BlockBatch, hide: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cross-entropy of blocks with the wanted distributions, first tokens most.

        `hide` (batch, blocks, block) marks places whose front token is not told. Returns the
        mean loss and the share of counted places whose likeliest token is the text's.
        """
        count, size = batch.anchors.shape[1], min(self.config.block, batch.text.shape[1])
        states = self.block_states(batch, size)  # (batch, blocks, block, hidden)
        ahead = batch.anchors[..., None] + torch.arange(size, device=batch.text.device)
        inside = ahead < batch.text.shape[1]
        index = ahead.clamp(max=batch.text.shape[1] - 1).flatten(1)  # (batch, blocks · block)
        wanted = batch.text.gather(1, index)
        front = batch.text.gather(1, index - 1)
        if hide is not None:
            front = front.masked_fill(hide.flatten(1), NOTHING)
        logits = self.logits(states.flatten(1, 2), front)
        labels = batch.labels.gather(1, index[..., None].expand(-1, -1, batch.labels.shape[2]))
        losses = -(labels * torch.log_softmax(logits.float(), dim=-1)).sum(-1)
        weights = torch.exp(-torch.arange(size, device=ahead.device) / _DECAY).repeat(count)
        counted = inside.flatten(1) & (wanted > NOTHING)
        weights = weights * counted
        right = (logits.argmax(-1) == wanted) & counted
        loss = (losses * weights).sum() / weights.sum().clamp(min=1e-6)
        return loss, right.sum() / counted.sum().clamp(min=1)

    def block_states(self, batch: BlockBatch, size: int) -> Tensor:
        """Last states (batch, blocks, size, hidden) of all blocks of a batch, in one forward."""
        ticks, count = batch.anchors.shape
        last = batch.text.gather(1, batch.anchors - 1)  # (batch, blocks)
        rows = last.new_full((ticks, count, size + 1), NOTHING)
        rows[:, :, 0] = last
        step = torch.arange(size + 1, device=rows.device)
        known = batch.prompt + batch.anchors - 1  # tokens of the target that a block may see
        places = batch.places[:, known][..., None] + step  # (3, batch, blocks, 1 + block)
        index = torch.arange(batch.states.shape[1], device=rows.device)
        seen = (index < known[..., None]).repeat_interleave(size + 1, dim=1)
        own = torch.block_diag(*[self.among(size + 1).float()] * count).bool()
        mask = torch.cat([seen, own.expand(ticks, -1, -1)], dim=2)[:, None]
        memory = self.memory(batch.states, batch.places)
        states = self.run(self.tokens(rows.flatten(1)), places.flatten(2), memory, mask)
        return states.unflatten(1, (count, size + 1))[:, :, 1:]


class _Mlp(nn.Module):
    """Norm, gate, narrow; the caller adds it."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden)
        self.widen = nn.Linear(hidden, 2 * intermediate, bias=False)
        self.narrow = nn.Linear(intermediate, hidden, bias=False)

    def forward(self, rows: Tensor) -> Tensor:
        gate, value = self.widen(self.norm(rows)).chunk(2, dim=-1)
        out: Tensor = self.narrow(functional.silu(gate) * value)
        return out


class _Layer(nn.Module):
    """Attention of a block to memory and block, then an MLP."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.heads = config.heads
        self.norm = nn.RMSNorm(hidden)
        self.ask = nn.Linear(hidden, hidden, bias=False)
        self.tell = nn.Linear(hidden, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.mlp = _Mlp(hidden, config.intermediate)

    def told(self, rows: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Keys and values (batch, heads, rows, head) of normed rows."""
        parts = self.tell(rows).unflatten(-1, (2, self.heads, -1))
        return _turned(parts[:, :, 0], *rotary).transpose(1, 2), parts[:, :, 1].transpose(1, 2)

    def forward(
        self,
        rows: Tensor,
        rotary: tuple[Tensor, Tensor],
        memory: tuple[Tensor, Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        normed = self.norm(rows)
        queries = _turned(self.ask(normed).unflatten(-1, (self.heads, -1)), *rotary)
        keys, values = self.told(normed, rotary)
        seen = functional.scaled_dot_product_attention(
            queries.transpose(1, 2),
            torch.cat([memory[0], keys], dim=2),
            torch.cat([memory[1], values], dim=2),
            mask,
        )
        rows = rows + self.out(seen.transpose(1, 2).flatten(-2))
        return rows + self.mlp(rows)


def _turned(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding on rows (batch, rows, heads, head)."""
    a, b = rows.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
