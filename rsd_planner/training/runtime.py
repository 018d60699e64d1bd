"""Where a training runs: its device, its precision, and its peers under `torchrun`.

Peers are found through the environment (RANK, WORLD_SIZE, MASTER_ADDR …). Each takes its
share of every batch and gradients are averaged, so a stage's code is the same for one
process and for many. Files are written by the first peer alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed

from rsd_planner.errors import CommandError

__all__ = ["Runtime", "open_runtime"]


@dataclass(frozen=True)
class Runtime:
    """One process of a training run."""

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    rank: int = 0
    peers: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def autocast(self) -> torch.autocast:
        """bf16 for what is inside."""
        return torch.autocast(self.device.type, torch.bfloat16)

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch of indices."""
        return batch[self.rank :: self.peers]

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replaces gradients by their mean over all peers."""
        if self.peers == 1 or not gradients:
            return
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= self.peers
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))

    def wait(self) -> None:
        """Until all peers are here."""
        if self.peers > 1:
            distributed.barrier()


@contextmanager
def open_runtime(device: str = "cpu") -> Iterator[Runtime]:
    """The runtime of this process, with its peers if the environment names some.

    Raises CommandError where the device does not exist.
    """
    if device not in ("cpu", "cuda"):
        raise CommandError(f"--device is {device!r}; choose cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise CommandError("there is no CUDA device that torch can use; choose --device cpu.")
    rank, peers = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    place = torch.device("cpu")
    if device == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(place)
    if peers > 1:
        # The first peer evaluates and caches while the others wait.
        distributed.init_process_group(
            "nccl" if device == "cuda" else "gloo", timeout=timedelta(hours=4)
        )
    try:
        yield Runtime(place, rank, peers)
    finally:
        if peers > 1:
            distributed.destroy_process_group()
