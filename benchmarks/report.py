"""The table, for people."""

from collections.abc import Callable, Sequence

import msgspec

from benchmarks.measurements import Memory, Series, Waits, percentile, total_mb

MEMORY_GOAL_MB = 400


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table, as texts."""

    what: str
    ours: str
    other: str = ""
    ratio: str = ""
    spread: str = ""
    goal: str = ""
    verdict: str = ""

    @classmethod
    def at_least(cls, what: str, against: str, series: Series, goal: float | None) -> "Row":
        return _compared(what, against, series, goal, "at least", lambda ratio, limit: ratio >= limit)

    @classmethod
    def at_most(cls, what: str, against: str, series: Series, goal: float) -> "Row":
        return _compared(what, against, series, goal, "at most", lambda ratio, limit: ratio <= limit)

    @classmethod
    def percentiles(cls, what: str, against: str, waits: Waits) -> "Row":
        ours, other = percentile(waits.ours_ms, 99), percentile(waits.other_ms, 99)
        return cls(what=what, ours=_number(ours), other=f"{_number(other)}  {against}", ratio=f"{ours / other:.2f}")

    @classmethod
    def rate(cls, what: str, per_s: float, goal: float | None = None) -> "Row":
        if goal is None:
            return cls(what=what, ours=_number(per_s))
        return cls(what=what, ours=_number(per_s), goal=f"at least {goal:g}", verdict=_verdict(per_s >= goal))

    @classmethod
    def at_most_times(cls, what: str, ours: float, without: float, goal: float | None = None) -> "Row":
        ratio = ours / without
        return cls(
            what=what,
            ours=_number(ours),
            other=f"{_number(without)}  without them",
            ratio=f"{ratio:.2f}",
            goal="" if goal is None else f"at most {goal:g}",
            verdict="" if goal is None else _verdict(ratio <= goal),
        )

    @classmethod
    def seconds(cls, what: str, seconds: float, goal_s: float | None = None) -> "Row":
        if goal_s is None:
            return cls(what=what, ours=f"{seconds:.1f} s")
        return cls(
            what=what, ours=f"{seconds:.1f} s", goal=f"at most {goal_s:g} s", verdict=_verdict(seconds <= goal_s)
        )


def table(rows: Sequence[Row]) -> str:
    head = ("", "Pointsman", "compared with", "ratio", "lowest … highest", "goal", "")
    cells = [(row.what, row.ours, row.other, row.ratio, row.spread, row.goal, row.verdict) for row in rows]
    return "\nMedians of rounds that took turns.\n\n" + _aligned([head, *cells])


def memory_table(memory: Memory) -> str:
    """By part; the load is the heaviest moment."""
    parts = sorted(memory.load, key=lambda part: -memory.load[part][1])
    nothing = (0, 0.0)
    cells = [("proportional set size, MB", "processes", "idle", "under load", "goal", "")]
    for part in parts:
        count, load = memory.load[part]
        cells.append((part, str(count), f"{memory.idle.get(part, nothing)[1]:.0f}", f"{load:.0f}", "", ""))
    idle, load = total_mb(memory.idle), total_mb(memory.load)
    count = sum(count for count, _ in memory.load.values())
    goal = f"below {MEMORY_GOAL_MB}"
    cells.append(("in total", str(count), f"{idle:.0f}", f"{load:.0f}", goal, _verdict(load < MEMORY_GOAL_MB)))
    return "\n" + _aligned(cells)


def _compared(
    what: str, against: str, series: Series, goal: float | None, word: str, is_met: Callable[[float, float], bool]
) -> Row:
    ratios = series.ratios
    return Row(
        what=what,
        ours=_number(series.ours),
        other=f"{_number(series.other)}  {against}",
        ratio=f"{series.ratio:.2f}",
        spread=f"{ratios[0]:.2f} … {ratios[-1]:.2f}",
        goal="" if goal is None else f"{word} {goal:g}",
        verdict="" if goal is None else _verdict(is_met(series.ratio, goal)),
    )


def _verdict(is_met: bool) -> str:
    return "met" if is_met else "MISSED"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def _aligned(cells: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
