"""The Alpamayo layout as one module: VLM, expert, action projections, action space.

Module names are the reference's (`vlm.`, `expert.`, `action_in_proj.`, `action_out_proj.`,
`action_space.`), so that a published checkpoint loads without a conversion. Knows nothing
of prompts, drafts or ticks.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextModel

from rsd_planner.models.action_space import UnicycleActionSpace, UnicycleConfig
from rsd_planner.models.history_tokens import HistoryTokens
from rsd_planner.models.kv_cache import KVCache, PrefixView
from rsd_planner.models.lean_layers import some_rows

__all__ = ["ActionInProjection", "Vla", "VlaConfig", "run_text_stack"]


@dataclass(frozen=True)
class VlaConfig:
    """The fields of a checkpoint's `config.json` that the planner reads."""

    model_type: str
    vlm_name_or_path: str
    traj_vocab_size: int
    traj_token_start_idx: int
    tokens_per_history_traj: int = 48
    min_pixels: int | None = None
    max_pixels: int | None = None
    # Kept for the config's sake: the reference hands the expert a mask that lets every
    # waypoint see all others, whatever this says.
    expert_non_causal_attention: bool = True
    expert: Mapping[str, Any] = field(default_factory=dict)
    action_in: Mapping[str, Any] = field(default_factory=dict)
    action_space: UnicycleConfig = field(default_factory=UnicycleConfig)
    history_tokens: HistoryTokens = field(default_factory=HistoryTokens)
    history_offset: int = 0  # of the history's bins within the trajectory vocabulary
    flow_steps: int = 10

    @property
    def history_token_start(self) -> int:
        """Token id of the history's bin 0."""
        return self.traj_token_start_idx + self.history_offset


class _RmsNorm(nn.Module):
    """RMS norm in fp32 with the weight applied after the cast back."""

    def __init__(self, size: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + self.eps)
        return (x.float() * scale).type_as(x) * self.weight


class _Fourier(nn.Module):
    """√2·(sin, cos) of a value at logarithmically spaced frequencies."""

    freqs: Tensor

    def __init__(self, features: int, max_freq: float) -> None:
        super().__init__()
        freqs = torch.logspace(0, math.log10(max_freq), steps=features // 2)
        self.register_buffer("freqs", freqs.unsqueeze(0))  # (1, features / 2)

    def forward(self, x: Tensor) -> Tensor:
        angle = 2 * torch.pi * x.unsqueeze(-1) * self.freqs
        return math.sqrt(2) * torch.cat([angle.sin(), angle.cos()], dim=-1)


class _Trunk(nn.Module):
    """Linear layers with SiLU between and an RMS norm before each but the first."""

    def __init__(self, features: int, layers: int, hidden: int, out: int) -> None:
        super().__init__()
        modules: list[nn.Module] = [nn.Linear(features, hidden), nn.SiLU()]
        for _ in range(layers - 1):
            modules += [_RmsNorm(hidden), nn.Linear(hidden, hidden), nn.SiLU()]
        modules += [_RmsNorm(hidden), nn.Linear(hidden, out)]
        self.trunk = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.trunk(x)


class ActionInProjection(nn.Module):
    """Fourier features of action and flow time, waypoint by waypoint, into the expert's width."""

    def __init__(
        self,
        action_dims: int,
        out_dim: int,
        num_enc_layers: int = 4,
        hidden_size: int = 1024,
        max_freq: float = 100.0,
        num_fourier_feats: int = 20,
    ) -> None:
        super().__init__()
        self.sinus = nn.ModuleList(
            _Fourier(num_fourier_feats, max_freq) for _ in range(action_dims)
        )
        self.timestep_fourier_encoder = _Fourier(num_fourier_feats, max_freq)
        features = (action_dims + 1) * num_fourier_feats
        self.encoder = _Trunk(features, num_enc_layers, hidden_size, out_dim)
        self.norm = nn.LayerNorm(out_dim)

    def forward(self, action: Tensor, time: Tensor) -> Tensor:
        """(batch, waypoints, 2) and (batch,) flow times → (batch, waypoints, hidden)."""
        parts = [encode(action[..., i]) for i, encode in enumerate(self.sinus)]
        clock = self.timestep_fourier_encoder(time).unsqueeze(1).expand(-1, action.shape[1], -1)
        return self.norm(self.encoder(torch.cat([*parts, clock], dim=-1)))


class Vla(nn.Module):
    """A VLM that reasons and a flow-matching expert that reads its KV cache."""

    def __init__(self, config: VlaConfig, vlm_config: Qwen3VLConfig) -> None:
        super().__init__()
        self.config = config
        self.vlm = Qwen3VLForConditionalGeneration(vlm_config)
        expert_config = copy.deepcopy(vlm_config.text_config)
        for name, value in config.expert.items():
            setattr(expert_config, name, value)
        _check_expert(expert_config, vlm_config.text_config)
        self.expert = Qwen3VLTextModel(expert_config)
        del self.expert.embed_tokens
        self.action_space = UnicycleActionSpace(config.action_space)
        dims = self.action_space.shape[1]
        known = {k: v for k, v in config.action_in.items() if not k.startswith("_")}
        self.action_in_proj = ActionInProjection(dims, expert_config.hidden_size, **known)
        self.action_out_proj = nn.Linear(expert_config.hidden_size, dims)

    @property
    def text(self) -> Qwen3VLTextModel:
        """The VLM's text stack."""
        return self.vlm.model.language_model

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.action_out_proj.weight.device

    def velocity(
        self, action: Tensor, time: Tensor, positions: Tensor, prefix: PrefixView
    ) -> Tensor:
        """The flow's velocity (batch, waypoints, 2) at noisy actions and times (batch,).

        `positions` is (3, batch, waypoints), going on behind the text.
        """
        embeds = self.action_in_proj(action.float(), time.float())
        hidden = run_text_stack(
            self.expert,
            embeds.to(self.action_out_proj.weight.dtype),
            positions,
            prefix,
            causal=False,
        )
        return self.action_out_proj(hidden).float()


def run_text_stack(
    stack: Qwen3VLTextModel,
    embeds: Tensor,
    positions: Tensor,
    cache: KVCache | PrefixView | None = None,
    mask: Tensor | None = None,
    causal: bool = True,
    visual: tuple[Tensor, list[Tensor]] | None = None,
    note: Callable[[int, Tensor], None] | None = None,
    asked: slice | None = None,
) -> Tensor:
    """The layers of a text stack, without the bookkeeping of the class's own `forward`.

    Args:
        embeds: (batch, length, hidden).
        positions: (3, batch, length).
        mask: bool (batch, 1, length, keys), True where attended; None leaves it to `causal`.
        visual: a bool mask (batch, length) of picture tokens and the deepstack features that
            enter behind the first layers, each (picture tokens, hidden).
        note: is told each layer and the states (batch, length, hidden) behind it.
        asked: tokens, none of a picture, of which the states are wanted: the last layer does not
            make the others' where nobody notes them. None asks for all.

    Returns the normed hidden states (batch, asked, hidden). Gives the numbers of the
    class's own forward (a test holds them together).
    """
    rotary = stack.rotary_emb(embeds, positions)
    hidden = embeds
    layers = list(stack.layers)
    whole = layers if asked is None or note is not None else layers[:-1]
    for index, layer in enumerate(whole):
        hidden = layer(
            hidden,
            position_embeddings=rotary,
            attention_mask=mask,
            past_key_values=cache,
            is_causal=causal and mask is None,
        )
        if visual is not None and index < len(visual[1]):
            hidden = hidden.clone()
            hidden[visual[0]] += visual[1][index]
        if note is not None:
            note(index, hidden)
    if asked is not None and note is None:
        hidden = some_rows(layers[-1], hidden, asked, rotary, cache, mask, causal)
    elif asked is not None:
        hidden = hidden[:, asked]
    return stack.norm(hidden)


def _check_expert(expert: Any, text: Any) -> None:
    for name in ("num_hidden_layers", "num_key_value_heads", "head_dim"):
        ours, theirs = getattr(expert, name), getattr(text, name)
        if ours != theirs:
            raise ValueError(
                f"expert_cfg sets {name} to {ours}, but the expert reads the VLM's KV cache, "
                f"which has {theirs}: leave it out of expert_cfg"
            )
