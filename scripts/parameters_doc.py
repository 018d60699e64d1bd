#!/usr/bin/env python3
"""Writes the table of parameters in docs/topics_and_parameters.md from the settings' schema.

python scripts/parameters_doc.py            writes it
python scripts/parameters_doc.py --check    exit code 1 when the page is behind the schema
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rsd_planner.config import SettingInfo, setting_infos  # noqa: E402

PAGE = ROOT / "docs" / "topics_and_parameters.md"
HEAD = "| name | default | range | unit | live | what |\n|---|---|---|---|---|---|\n"
# Defaults that depend on the machine or on where the package lies.
_MOVING = {"model_path": "the bundled mini", "worker_threads": "usable cores − 1"}


def table() -> str:
    """The whole table, in the order of the schema."""
    return HEAD + "".join(_row(info) for info in setting_infos())


def renewed(page: str) -> str:
    """The page with its table replaced; the table ends at the first empty line or at the end."""
    start = page.index(HEAD)
    end = page.find("\n\n", start)
    return page[:start] + table() + ("" if end < 0 else page[end + 1 :])


def _row(info: SettingInfo) -> str:
    cells = (
        f"`{info.name}`",
        _MOVING.get(info.name, _shown(info.default)),
        ", ".join(info.choices) or _range(info),
        info.unit,
        "yes" if info.dynamic else "",
        info.description,
    )
    return "| " + " | ".join(cells) + " |\n"


def _range(info: SettingInfo) -> str:
    return "" if info.low is None else f"{info.low:g} … {info.high:g}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return value or "empty"
    if isinstance(value, (tuple, list, dict)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def main(arguments: list[str]) -> int:
    """Writes or checks the page."""
    page = PAGE.read_text(encoding="utf-8")
    new = renewed(page)
    if arguments == ["--check"]:
        return int(new != page)
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
