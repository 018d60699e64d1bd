"""What the target says and plans on held-out drives, and on pictures that tell it nothing.

Takes ticks from a `DriveSet`, runs the batched model over them for each kind of input, and keeps
what came out; `target_rows` makes figures of it. A tick's text depends on that tick alone, so
the order of ticks does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsd_planner.errors import CommandError
from rsd_planner.evaluation.batched import BatchedModel, PictureFeatures
from rsd_planner.evaluation.causes import ParsedReasoning, parse_reasoning
from rsd_planner.evaluation.grounding import CALM, CANONICAL_CAUSES, cause_table
from rsd_planner.evaluation.paths import medoid
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.training.data import FRAMES, DriveSet

__all__ = ["INPUTS", "Answers", "Sampling", "Ticks", "answer", "open_model", "select_ticks"]

INPUTS = ("normal", "blank", "swapped", "history_shuffled")
_GREY = 128
_DECISIONS = ("keep", "accelerate", "slow", "stop", "wait", "left", "right", "yield")


@dataclass(frozen=True)
class Ticks:
    """The ticks to evaluate, with what is true at each."""

    data: DriveSet
    frames: NDArray[np.int64]  # (ticks, pictures a tick), oldest first
    drive: NDArray[np.int64]  # (ticks,) from 0 on, without holes
    truth: NDArray[np.bool_]  # (ticks, causes)
    decision: NDArray[np.int64]  # (ticks,) index into `decisions`
    novel: NDArray[np.bool_]  # (ticks,)
    decisions: tuple[str, ...] = _DECISIONS

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def now(self) -> NDArray[np.int64]:
        """(ticks,): the frame at t0."""
        return self.frames[:, -1]

    @property
    def event(self) -> NDArray[np.bool_]:
        """(ticks,): whether something else than a calm cause is true."""
        calm = np.array([name in CALM for name in CANONICAL_CAUSES])
        return np.asarray(self.truth[:, ~calm].any(axis=1))

    @property
    def history_xyz(self) -> NDArray[np.float64]:
        """(ticks, steps, 3)."""
        return self.data.history_xyz[self.now].astype(np.float64)

    @property
    def history_rot(self) -> NDArray[np.float64]:
        """(ticks, steps, 3, 3)."""
        return self.data.history_rot[self.now].astype(np.float64)

    @property
    def driven(self) -> NDArray[np.float64]:
        """(ticks, points, 2): where the car went."""
        return self.data.future_xyz[self.now, :, :2].astype(np.float64)


@dataclass(frozen=True)
class Sampling:
    """How the model is asked."""

    samples: int = 6
    flow_steps: int = 5
    batch: int = 32
    seed: int = 0


@dataclass(frozen=True)
class Answers:
    """What the model made of one kind of input."""

    input: str
    texts: tuple[str, ...]
    parsed: tuple[ParsedReasoning, ...]
    finished: NDArray[np.bool_]  # (ticks,) the text came to its end
    samples: NDArray[np.float64]  # (ticks, samples, points, 2)
    chosen: NDArray[np.int64]  # (ticks,) the medoid
    silent: NDArray[np.float64] | None = None  # (ticks, samples, points, 2) without reasoning

    @property
    def said(self) -> NDArray[np.bool_]:
        """(ticks, causes)."""
        return cause_table([[cause.name for cause in p.causes] for p in self.parsed])

    @property
    def decision(self) -> NDArray[np.int64]:
        """(ticks,): index into the decisions, −1 where none could be read."""
        place = {name: index for index, name in enumerate(_DECISIONS)}
        return np.array([place.get(p.decision.name.lower(), -1) for p in self.parsed], np.int64)

    @property
    def paths(self) -> NDArray[np.float64]:
        """(ticks, points, 2): the medoids."""
        return _medoids(self.samples, self.chosen)

    @property
    def silent_paths(self) -> NDArray[np.float64] | None:
        """(ticks, points, 2): the medoids without reasoning."""
        return None if self.silent is None else _medoids(self.silent, medoid(self.silent))


def select_ticks(data: DriveSet, every: int = 1, drives: int | None = None) -> Ticks:
    """Every n-th tick of the first drives.

    Raises:
        CommandError: there is no tick with a whole history and future.
    """
    frames = data.ticks()
    frames = frames[data.row[frames[:, -1]] % every == 0]
    if drives is not None:
        frames = frames[data.drive[frames[:, -1]] < drives]
    if len(frames) == 0:
        raise CommandError("the drives hold no tick with a whole history and future.")
    now = frames[:, -1]
    _, drive = np.unique(data.drive[now], return_inverse=True)
    place = {name: index for index, name in enumerate(_DECISIONS)}
    return Ticks(
        data=data,
        frames=frames,
        drive=drive.astype(np.int64),
        truth=cause_table([data.cause_names(int(i)) for i in now]),
        decision=np.array([place[data.decisions[i]] for i in now], np.int64),
        novel=data.novel[now],
    )


def open_model(checkpoint: Checkpoint, data: DriveSet, max_tokens: int = 64) -> BatchedModel:
    """The checkpoint over the pictures of these drives."""
    return BatchedModel(checkpoint, data.picture_size, pictures=FRAMES, max_tokens=max_tokens)


def answer(
    model: BatchedModel,
    ticks: Ticks,
    source: str,
    sampling: Sampling,
    *,
    silent: bool = False,
    progress: Callable[[int], None] = lambda count: None,
) -> Answers:
    """Ask the model about all ticks with one kind of input.

    `silent` samples paths without reasoning too; `progress` is told how many ticks are done.

    Raises:
        CommandError: an input from another drive, and there is only one.
    """
    if source not in INPUTS:
        raise ValueError(f"no input {source!r}; there are {', '.join(INPUTS)}")
    xyz, rot = ticks.history_xyz, ticks.history_rot
    if source in ("swapped", "history_shuffled") and len(np.unique(ticks.drive)) < 2:
        raise CommandError("pictures or histories of another drive need two drives at least.")
    if source == "history_shuffled":
        other = _from_other_drives(ticks.drive, sampling.seed)
        xyz, rot = xyz[other], rot[other]
    texts: list[str] = []
    finished: list[bool] = []
    paths: list[NDArray[np.float64]] = []
    quiet: list[NDArray[np.float64]] = []
    for features, shown, rows in _batches(model, ticks, source, sampling):
        model.read(features, shown, xyz[rows])
        tokens = model.write()
        texts += [model.text_of(row) for row in tokens]
        finished += [model.is_finished(row) for row in tokens]
        asked = (xyz[rows], rot[rows], sampling.samples, sampling.flow_steps, sampling.seed)
        paths.append(model.drive(*asked))
        if silent:
            model.say(model.empty_text)
            quiet.append(model.drive(*asked))
        progress(len(rows))
    samples = np.concatenate(paths)
    read = {text: parse_reasoning(text) for text in set(texts)}
    return Answers(
        input=source,
        texts=tuple(texts),
        parsed=tuple(read[text] for text in texts),
        finished=np.array(finished),
        samples=samples,
        chosen=medoid(samples),
        silent=np.concatenate(quiet) if silent else None,
    )


def _batches(
    model: BatchedModel, ticks: Ticks, source: str, sampling: Sampling
) -> Iterator[tuple[PictureFeatures, NDArray[np.int64], NDArray[np.int64]]]:
    """Encoded pictures, the ticks' indices into them, and which ticks; drive by drive."""
    data = ticks.data
    lender = _lenders(len(np.unique(ticks.drive)), sampling.seed)
    blank = None
    if source == "blank":
        blank = model.encode(np.full((1, *data.picture_size, 3), _GREY, np.uint8))
    for drive in range(len(lender)):
        rows = np.flatnonzero(ticks.drive == drive)
        frames = ticks.frames[rows]
        if source == "swapped":
            lent = ticks.frames[ticks.drive == lender[drive]]
            frames = lent[np.arange(len(rows)) % len(lent)]
        shown_frames, shown = np.unique(frames, return_inverse=True)
        shown = shown.reshape(frames.shape)
        if blank is None:
            features = model.encode(data.pictures(shown_frames))
        else:
            features, shown = blank, np.zeros_like(shown)
        for start in range(0, len(rows), sampling.batch):
            part = slice(start, start + sampling.batch)
            yield features, shown[part], rows[part]


def _lenders(drives: int, seed: int) -> NDArray[np.int64]:
    """(drives,): for each drive another one; a single drive has only itself."""
    order = np.random.default_rng([seed, 1]).permutation(drives)
    lender = np.empty(drives, np.int64)
    lender[order] = np.roll(order, 1)
    return lender


def _from_other_drives(drive: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """(ticks,): for each tick one of another drive."""
    rng = np.random.default_rng([seed, 2])
    rows = [np.flatnonzero(drive != own) for own in range(int(drive.max()) + 1)]
    return np.array([rng.choice(rows[own]) for own in drive], np.int64)


def _medoids(
    samples: NDArray[np.float64], chosen: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    return np.asarray(samples[np.arange(len(samples)), chosen])
