"""Prints a model card's tables from the figures of `rsd eval target --json FILE`.

python scripts/card_tables.py eval.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

INPUTS = {"history_shuffled": "history shuffled"}


def main(file: Path) -> None:
    """Headline, inputs, causes, attributes, paths."""
    figures = json.loads(file.read_text())
    rows = figures["rows"]
    whole = _row(rows, "streaming", "normal")
    print(
        f"{whole['ticks']} ticks of {whole['drives']} drives: macro F1 {_f(whole['macro_f1'])} "
        f"(95 %: {_f(whole['macro_f1_low'])}–{_f(whole['macro_f1_high'])} over drives), decisions "
        f"{_f(whole['decision_accuracy'])} ({_f(whole['decision_low'])}–"
        f"{_f(whole['decision_high'])}; always the commonest: {_f(whole['decision_prior'])}).\n"
    )
    _table(
        ("input", "macro F1 of causes", "of causes that history cannot show", "prior of those",
         "decisions"),
        ((INPUTS.get(r["input"], r["input"]), r["macro_f1"], r["unshown_f1"],
          r["unshown_prior_f1"], r["decision_accuracy"])
         for r in rows if r["split"] == "streaming"),
    )  # fmt: skip
    fields = ("precision", "recall", "f1", "blank_f1", "swapped_f1", "prior_f1")
    _table(
        ("cause", "ticks", "drives", "precision", "recall", "F1", "blank", "swapped", "prior"),
        ((c["cause"], c["ticks"], c["drives"], *(c.get(f) for f in fields))
         for c in figures["causes"]),
    )  # fmt: skip
    told = (f"{a['attribute']} {_f(a['accuracy'])}" for a in figures["attributes"])
    print(f"Attributes of causes that are named rightly: {', '.join(told)}.\n")
    fields = ("ade_3s_m", "cv_ade_3s_m", "ctr_ade_3s_m", "silent_ade_3s_m", "min_ade_3s_m")
    _table(
        ("ticks", "n", "ADE 3 s", "constant velocity", "constant turn rate", "without reasoning",
         "least of K", "FDE 6 s", "its constant velocity"),
        ((r["split"], r["ticks"], *(r[f] for f in fields), f"{r['fde_6s_m']:.1f}",
          f"{r['cv_fde_6s_m']:.1f}")
         for r in rows if r["input"] == "normal" and r["ticks"]),
    )  # fmt: skip


def _row(rows: Sequence[dict[str, Any]], split: str, source: str) -> dict[str, Any]:
    return next(r for r in rows if r["split"] == split and r["input"] == source)


def _table(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    print(f"| {' | '.join(names)} |")
    print("|" + "---|" + "---:|" * (len(names) - 1))
    for row in rows:
        print(f"| {' | '.join(_f(value) for value in row)} |")
    print()


def _f(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
