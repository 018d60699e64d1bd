"""The two files of a trained drafter: weights in half precision, and what else it is, as JSON.

Weights are safetensors; nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from rsd_planner.errors import ConfigError

__all__ = ["load_drafter", "save_drafter"]

Net = TypeVar("Net", bound=nn.Module)


def save_drafter(stem: Path, net: nn.Module, config: Any, card: Mapping[str, Any]) -> None:
    """Write `stem`.safetensors in half precision and `stem`.json; `card` says how it was made.

    `config` is the network's, a dataclass.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().to("cpu", torch.float16).contiguous()
        for name, value in net.state_dict().items()
    }
    save_file(weights, str(stem.with_suffix(".safetensors")))
    text = json.dumps({"config": asdict(config), "card": dict(card)}, separators=(",", ":"))
    stem.with_suffix(".json").write_text(text + "\n", encoding="utf-8")


def load_drafter(
    weights: Path, facts: Path, make: Callable[[dict[str, Any]], Net], command: str
) -> Net:
    """The network of a drafter's two files, in fp32.

    `make` builds it from the config as it stands in the file; `command` trains it anew.

    Raises:
        ConfigError: a file is damaged, or the two do not belong together.
    """
    try:
        net = make(json.loads(facts.read_text(encoding="utf-8"))["config"])
        state = load_file(str(weights))
        net.load_state_dict({name: value.float() for name, value in state.items()})
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        line = str(error).splitlines()[0]
        raise ConfigError(
            f"{weights} and {facts.name} cannot be read ({line}); train it anew with "
            f"`{command}` or copy the checkpoint again."
        ) from None
    return net
