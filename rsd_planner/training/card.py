"""The data card of a folder of shards: what was recorded, counted.

Counts are stored; shares are derived where they are shown. `card.json` is for programs,
`README.md` for people.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from rsd_planner.simulation.narrator import count_words
from rsd_planner.simulation.text_changes import changed_words

__all__ = ["DataCard", "read_card", "write_card"]


@dataclass
class DataCard:
    """Counts over the learned ticks of all shards of a folder."""

    drives: int = 0
    first_seed: int = 0
    last_seed: int = 0
    ticks: int = 0
    novel_ticks: int = 0
    pairs: int = 0  # of consecutive ticks
    equal_pairs: int = 0  # with the same text
    changed_words: int = 0  # over all pairs: replaced, inserted or removed
    different_texts: int = 0
    words: dict[int, int] = field(default_factory=dict)  # texts by their length
    networks: dict[str, int] = field(default_factory=dict)  # drives
    weathers: dict[str, int] = field(default_factory=dict)  # drives
    decisions: dict[str, int] = field(default_factory=dict)  # ticks
    causes: dict[str, int] = field(default_factory=dict)  # ticks
    causes_in_drives: dict[str, int] = field(default_factory=dict)  # drives
    causes_a_tick: dict[int, int] = field(default_factory=dict)  # ticks


def write_card(folder: Path) -> DataCard:
    """Counts a folder's shards and writes its card."""
    card, texts = DataCard(), set()
    counters: dict[str, Counter[Any]] = {
        name: Counter() for name, value in asdict(card).items() if isinstance(value, dict)
    }
    seeds = []
    for path in sorted(folder.glob("drive_*.npz")):
        with np.load(path) as shard:
            meta = json.loads(shard["meta_json"].tobytes())
            learned = np.flatnonzero(shard["learned"])
            card.novel_ticks += int(shard["novel"][learned].sum())
        seeds.append(meta["seed"])
        told = [meta["texts"][i] for i in learned]
        texts.update(told)
        causes = [{cause["name"] for cause in meta["causes"][i]} for i in learned]
        card.ticks += len(told)
        card.pairs += max(0, len(told) - 1)
        card.equal_pairs += sum(a == b for a, b in pairwise(told))
        card.changed_words += sum(changed_words(a, b) for a, b in pairwise(told))
        counters["words"].update(count_words(text) for text in told)
        counters["networks"][meta["network"]] += 1
        counters["weathers"][meta["weather"]] += 1
        counters["decisions"].update(meta["decisions"][i] for i in learned)
        counters["causes"].update(name for names in causes for name in names)
        counters["causes_in_drives"].update(set().union(*causes))
        counters["causes_a_tick"].update(map(len, causes))
    card.drives, card.different_texts = len(seeds), len(texts)
    card.first_seed, card.last_seed = min(seeds, default=0), max(seeds, default=0)
    for name, counter in counters.items():
        setattr(card, name, dict(counter.most_common()))
    (folder / "card.json").write_text(json.dumps(asdict(card), indent=2) + "\n")
    (folder / "README.md").write_text(_markdown(card))
    return card


def read_card(folder: Path) -> Mapping[str, Any]:
    """The counts of a folder's card."""
    card: Mapping[str, Any] = json.loads((folder / "card.json").read_text())
    return card


def _markdown(card: DataCard) -> str:
    pairs, ticks, drives = max(1, card.pairs), max(1, card.ticks), max(1, card.drives)
    lengths = [length for length, count in card.words.items() for _ in range(count)] or [0]
    lines = [
        f"# {card.drives} simulated drives",
        "",
        f"Seeds {card.first_seed} to {card.last_seed}, {card.ticks} ticks, of them "
        f"{card.novel_ticks} ({card.novel_ticks / ticks:.0%}) within a second after the set of "
        "causes changed.",
        "",
        f"Texts: {card.different_texts} different ones, {np.mean(lengths):.1f} words on average "
        f"(5 %: {np.percentile(lengths, 5):.0f}, 95 %: {np.percentile(lengths, 95):.0f}, "
        f"{min(lengths)} to {max(lengths)}; digits and punctuation marks count as words). "
        f"{card.equal_pairs / pairs:.0%} of consecutive texts are equal; from one to the next "
        f"{card.changed_words / pairs:.1f} words change on average.",
        "",
        *_table("cause", card.causes, ticks, "ticks", card.causes_in_drives),
        *_table("decision", card.decisions, ticks, "ticks"),
        *_table("causes named", card.causes_a_tick, ticks, "ticks"),
        *_table("weather", card.weathers, drives, "drives"),
        *_table("network", card.networks, drives, "drives"),
    ]
    return "\n".join(lines)


def _table(
    title: str,
    counts: Mapping[Any, int],
    whole: int,
    unit: str,
    in_drives: Mapping[str, int] | None = None,
) -> Iterable[str]:
    extra = (" drives |", "---:|") if in_drives else ("", "")
    yield f"| {title} | {unit} | share |{extra[0]}"
    yield f"|---|---:|---:|{extra[1]}"
    for name, count in counts.items():
        cell = f" {in_drives[name]} |" if in_drives else ""
        yield f"| {name} | {count} | {count / whole:.1%} |{cell}"
    yield ""
