"""The plots of the benchmark's page show what they are for."""

from __future__ import annotations

import re

import pytest

from rsd_planner.evaluation.bench_charts import speedup_chart


def widths(svg: str) -> list[float]:
    return [float(wide) for wide in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)]


def test_an_oracle_does_not_dwarf_the_drafters() -> None:
    speedups = {"none": 1.0, "cascade": 8.0, "oracle": 300.0, "floor": None}
    rows = [
        {"drafter": name, "speedup_reasoning": value, "ci95_low": None, "ci95_high": None}
        for name, value in speedups.items()
    ]
    svg = speedup_chart(rows, {"cascade": "red"})
    plain, cascade, oracle = widths(svg)
    assert cascade == pytest.approx(8 * plain, rel=0.01)
    assert cascade > 0.25 * oracle
    assert 'viewBox="0 0 1130' in svg and oracle < 1130
    assert "300.00×" in svg and "8.00×" in svg
