"""The live view in a terminal: a Rich layout on a tty, plain lines elsewhere.

Renders values; it does not know where they come from and keeps no clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rsd_planner.types import PlanSource
from rsd_planner.viz.colours import DELIBERATIVE, ROUTINE
from rsd_planner.viz.tick_view import (
    Piece,
    Summary,
    TickView,
    describe_path,
    pieces,
    speed_at,
    summarise,
)

__all__ = [
    "legend",
    "live_layout",
    "make_console",
    "plain_lines",
    "reasoning_text",
    "summary_table",
]

_FORESEEN = f"underline {ROUTINE}"
_HISTORY_ROWS = 40
_MOST_SHOWN = 20
_SOURCE_WORDS = {
    PlanSource.MODEL: "model",
    PlanSource.LAST_VALID: "last valid plan",
    PlanSource.SAFE_STOP: "safe stop",
}


def reasoning_text(view: TickView) -> Text:
    """The reasoning with its routine and deliberative parts in their colours; what of the routine
    ones was not copied from the last tick is underlined."""
    text = Text(overflow="fold")
    for piece in pieces(view.text, view.spans):
        text.append(piece.text, style=_style(piece))
    return text


def _style(piece: Piece) -> str:
    if not piece.routine:
        return f"bold {DELIBERATIVE}"
    return _FORESEEN if piece.new else ROUTINE


def legend() -> Text:
    """What colours and lines mean."""
    return Text.assemble(
        ("routine", ROUTINE),
        " = drafted and verified, ",
        ("new", _FORESEEN),
        " since the last tick    ",
        ("deliberative", f"bold {DELIBERATIVE}"),
        " = chosen by the model",
    )


def plain_lines(view: TickView, start_ns: int, *, colour: bool) -> list[Text]:
    """Two lines for a tick. Without colour, deliberative parts stand in ‹ ›."""
    seconds = (view.t0_ns - start_ns) / 1e9
    if colour:
        words = reasoning_text(view)
    else:
        words = Text(
            "".join(
                piece.text if piece.routine else _bracketed(piece.text)
                for piece in pieces(view.text, view.spans)
            )
        )
    head = Text(f"{seconds:5.1f} s  ")
    if view.source != PlanSource.MODEL:
        return [Text.assemble(head, f"[{_SOURCE_WORDS[view.source]}] ", describe_path(view))]
    numbers = Text(
        f"         {view.decision.name.lower()}; {describe_path(view)}; "
        f"{view.accepted}+{view.deliberative} tokens in {view.target_forwards} forward"
        f"{'' if view.target_forwards == 1 else 's'}; "
        f"reasoning {view.reasoning_ms:.0f} ms, plain ≈ {view.plain_ms_estimate:.0f} ms: "
        f"{_times(view.speedup)}; tick {view.total_ms:.0f} ms",
        style="dim" if colour else "",
    )
    return [Text.assemble(head, words), numbers]


def live_layout(views: Sequence[TickView], status: str, start_ns: int) -> RenderableType:
    """The whole screen: newest tick on top, then numbers, then the latest ticks."""
    layout = Layout()
    layout.split_column(
        Layout(name="now", size=8),
        Layout(name="numbers", size=9),
        Layout(name="past", ratio=1),
    )
    layout["numbers"].split_row(Layout(name="times"), Layout(name="drive"))
    own = [view for view in views if view.source == PlanSource.MODEL]
    newest = own[-1] if own else None
    layout["now"].update(_now_panel(newest, views[-1] if views else None, status, start_ns))
    layout["times"].update(_times_panel(newest))
    layout["drive"].update(_drive_panel(own))
    layout["past"].update(_past_panel(own, start_ns))
    return layout


def summary_table(summary: Summary, *, title: str = "The drive in numbers") -> Table:
    """The closing table of a demo or a replay."""
    table = Table(title=title, show_header=False, title_justify="left", pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    lost = summary.ticks - summary.model_ticks
    table.add_row(
        "plans from the model",
        f"{summary.model_ticks} of {summary.ticks} ticks"
        + (f" ({lost} from the fallback)" if lost else ""),
    )
    table.add_row("drafter, rule", f"{summary.drafter or '–'}, {summary.rule or '–'}")
    table.add_row(
        "tokens",
        Text.assemble(
            (f"{summary.accepted} routine", ROUTINE),
            " + ",
            (f"{summary.tokens - summary.accepted} deliberative", f"bold {DELIBERATIVE}"),
            f"  ({summary.routine_share:.0%} routine)",
        ),
    )
    table.add_row(
        "tokens a target forward",
        f"{summary.tokens_per_forward:.1f}  ({summary.target_forwards} forwards)",
    )
    table.add_row(
        "reasoning",
        f"{summary.reasoning_ms:.0f} ms; plain decoding ≈ {summary.plain_ms:.0f} ms (estimated)",
    )
    table.add_row("speed-up of reasoning", Text(_times(summary.speedup), style="bold"))
    table.add_row(
        "equal consecutive texts",
        f"{summary.equal_text_share:.0%}  ({summary.different_texts} different texts)",
    )
    table.add_row("tick time", f"{summary.tick_ms_p50:.0f} ms p50, {summary.tick_ms_p99:.0f} p99")
    return table


def make_console(*, file: object = None) -> Console:
    """A console that writes 100 columns where there is no terminal to ask."""
    console = Console(file=file, highlight=False, soft_wrap=False)  # type: ignore[arg-type]
    return (
        console
        if console.is_terminal
        else Console(
            file=file,  # type: ignore[arg-type]
            highlight=False,
            soft_wrap=True,
            width=160,
        )
    )


def _bracketed(text: str) -> str:
    inner = text.strip(" ")
    if not inner:
        return text
    before = text[: len(text) - len(text.lstrip(" "))]
    after = text[len(text.rstrip(" ")) :]
    return f"{before}‹{inner}›{after}"


def _times(speedup: float) -> str:
    if speedup <= 0:
        return "no estimate"
    if speedup > _MOST_SHOWN:  # of a single tick; the time below it is the noise of a clock
        return f">{_MOST_SHOWN}× faster"
    return f"{speedup:.1f}× faster" if speedup >= 1.05 else f"{speedup:.1f}× the plain speed"


def _short_times(speedup: float) -> str:
    if speedup > _MOST_SHOWN:
        return f">{_MOST_SHOWN}×"
    return f"{speedup:.1f}×" if speedup > 0 else "–"


def _now_panel(
    newest: TickView | None, published: TickView | None, status: str, start_ns: int
) -> Panel:
    rows: list[RenderableType] = []
    if newest is None:
        rows.append(Text("waiting for the first plan …", style="dim"))
    else:
        rows += [reasoning_text(newest), Text()]
    if published is not None:
        rows.append(_facts(newest, published))
    seconds = f" at {(newest.t0_ns - start_ns) / 1e9:.1f} s" if newest is not None else ""
    return Panel(
        Group(*rows),
        title=Text(f"reasoning{seconds} · {status}"),
        subtitle=legend(),
        title_align="left",
        subtitle_align="left",
    )


def _facts(newest: TickView | None, published: TickView) -> Text:
    """The decision and where the published path goes, and whose it is if not the model's."""
    words = Text()
    if newest is not None:
        words.append(newest.decision.name, style="bold")
        words.append("   ")
    words.append(f"{describe_path(published)}   now {speed_at(published, 0.1) * 3.6:.0f} km/h")
    if published.source != PlanSource.MODEL:
        words.append(f"   [{_SOURCE_WORDS[published.source]}]", style="bold reverse")
    return words


def _times_panel(newest: TickView | None) -> Panel:
    if newest is None:
        return Panel("", title="this tick", title_align="left")
    longest = max(newest.plain_ms_estimate, newest.reasoning_ms, newest.total_ms, 1e-6)
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(ratio=1)
    rows = (
        ("reasoning", newest.reasoning_ms, ROUTINE),
        ("if plain", newest.plain_ms_estimate, "grey50"),
        ("vision", newest.vision_ms, "grey50"),
        ("prefill", newest.prefill_ms, "grey50"),
        ("path head", newest.head_ms, "grey50"),
        ("whole tick", newest.total_ms, "default"),
    )
    for name, value, style in rows:
        table.add_row(name, f"{value:.0f} ms", Bar(longest, 0, value, color=style))
    return Panel(table, title=f"this tick: {_times(newest.speedup)}", title_align="left")


def _drive_panel(own: Sequence[TickView]) -> Panel:
    summary = summarise(own)
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(no_wrap=True)
    table.add_row("plans", f"{summary.model_ticks}")
    table.add_row("drafter", f"{summary.drafter or '–'}, {summary.rule or '–'}")
    table.add_row("routine", f"{summary.accepted} of {summary.tokens} tokens")
    table.add_row("forward", f"{summary.tokens_per_forward:.1f} tokens each")
    table.add_row("equal", f"{summary.equal_text_share:.0%} of texts to the last")
    table.add_row("tick", f"{summary.tick_ms_p50:.0f} ms p50, {summary.tick_ms_p99:.0f} p99")
    return Panel(table, title=f"the drive so far: {_times(summary.speedup)}", title_align="left")


def _past_panel(own: Sequence[TickView], start_ns: int) -> Panel:
    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(justify="right", no_wrap=True, style="dim")
    table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    table.add_column(justify="right", no_wrap=True)
    for view in list(reversed(own[:-1]))[:_HISTORY_ROWS]:
        words = reasoning_text(view)
        words.no_wrap, words.overflow = True, "ellipsis"
        table.add_row(f"{(view.t0_ns - start_ns) / 1e9:.1f}", words, _short_times(view.speedup))
    return Panel(table, title="before, with the speed-up of each tick", title_align="left")
