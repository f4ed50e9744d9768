"""Small SVG drawings: scales, axes and marks as text, with classes for colours so that a page can be light or dark.

In: numbers and names. Out: SVG elements as strings. Every text goes through `escape`; no style attributes, so that
the page's content policy needs no exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

Scale = Callable[[float], float]
LETTER = 6.3  # width of a letter at 11 px, a little generous

PALETTE = ("#0068a8", "#c4520b", "#00805c", "#a3458b", "#7a6a00", "#4a55c0", "#8a4b3a", "#52616b")
STANDALONE = (
    "text{font:11px system-ui,sans-serif;fill:#333}.axis,.grid{stroke:#bbb;fill:none}.grid{stroke:#e8e8e8}"
    ".strong{font-weight:600}.faint{fill:#777}.whisker,.line{fill:none;stroke-width:1.5}.mean{fill:#fff}"
    + "".join(f".s{n}{{stroke:{c}}}.f{n}{{fill:{c}}}.b{n}{{stroke:{c};fill:{c};fill-opacity:.25}}"
              for n, c in enumerate(PALETTE))
    + ".n0{fill:#d8d8d8}.n1{fill:#9a9a9a}"
)  # fmt: skip


def number(value: float) -> str:
    """A number as an axis or a table shows it: three significant digits, thousands as k, millions as M."""
    size = abs(value)
    if size >= 999_500:
        return f"{value / 1e6:.3g}M"
    if size >= 9_995:
        return f"{value / 1e3:.3g}k"
    if size >= 100 or (size == int(size) and size >= 1):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def linear(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high] onto [start, end] evenly."""
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def logarithmic(low: float, high: float, start: float, end: float) -> Scale:
    """Map [low, high], both positive, onto [start, end] by logarithms; smaller values stand at the start."""
    inner = linear(math.log(low), math.log(high), start, end)
    return lambda value: inner(math.log(max(value, low)))


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between low and high, about `wanted` of them."""
    span = high - low
    if span <= 0 or not math.isfinite(span):
        return [low]
    rough = span / wanted
    power = 10 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Powers of two (lengths are doubled, not added to) between low and high, thinned to at most `most`."""
    powers = range(math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9) + 1)
    step = max(1, math.ceil(len(powers) / most))
    return [float(2.0**p) for p in powers if p % step == 0] or [low, high]


@dataclass
class Drawing:
    """An SVG of a fixed size; marks are appended in drawing order."""

    width: float
    height: float
    title: str
    marks: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", kind: str = "", tip: str = "") -> None:
        inside = f"<title>{escape(tip)}</title>" if tip else ""
        named = f' class="{kind}"' if kind else ""
        self.marks.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{inside}{escape(words)}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        self.marks.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> None:
        self.marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}" class="{kind}">'
            f"{_tip(tip)}</rect>"
        )

    def circle(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        self.marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}">{_tip(tip)}</circle>')

    def path(self, points: Sequence[tuple[float, float]], kind: str, tip: str = "") -> None:
        if points:
            steps = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self.marks.append(f'<path d="M{steps}" class="{kind}">{_tip(tip)}</path>')

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        if points:
            steps = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self.marks.append(f'<path d="M{steps}Z" class="{kind}"/>')

    def svg(self, *, standalone: bool = False) -> str:
        """The element; standalone: a file of its own, with its colours inside."""
        space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
        style = f"<style>{STANDALONE}</style><rect width='100%' height='100%' fill='#fff'/>" if standalone else ""
        return (
            f'<svg{space} viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" role="img" aria-label="{escape(self.title)}">{style}'
            f"{''.join(self.marks)}</svg>"
        )


def _tip(words: str) -> str:
    return f"<title>{escape(words)}</title>" if words else ""


def bottom_axis(
    drawing: Drawing, scale: Scale, ticks: Sequence[float], y: float, top: float, label: Callable[[float], str] = number
) -> None:
    """Ticks with grid lines up to `top`; labels that would touch the one before are left out."""
    last = -math.inf
    for tick in ticks:
        x = scale(tick)
        drawing.line(x, y, x, top, "grid")
        words = label(tick)
        half = len(words) * LETTER / 2
        if x - half > last + 4:
            drawing.text(x, y + 14, words, anchor="middle")
            last = x + half


def left_axis(
    drawing: Drawing,
    scale: Scale,
    ticks: Sequence[float],
    x: float,
    right: float,
    label: Callable[[float], str] = number,
) -> None:
    for tick in ticks:
        y = scale(tick)
        drawing.line(x, y, right, y, "grid")
        drawing.text(x - 6, y + 4, label(tick), anchor="end")


def legend(drawing: Drawing, names: Sequence[str], y: float, x: float = 0.0) -> float:
    """Colour keys in rows that fit the width; returns the y below the last row."""
    place = x
    for number_, name in enumerate(names):
        shown = shorten(name, 24)
        need = 18 + len(shown) * LETTER + 14
        if place > x and place + need > drawing.width:
            place, y = x, y + 16
        drawing.rect(place, y - 9, 10, 10, f"f{number_ % len(PALETTE)}")
        drawing.text(place + 15, y, shown, tip=name)
        place += need
    return y + 16


def shorten(name: str, most: int) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def percent_tenth(value: float) -> str:
    return f"{100 * value:.1f} %"


def dollars(value: float) -> str:
    """Dollars with the digits that matter at their size."""
    if abs(value) < 0.1:
        return f"${value:.2g}"
    return f"${value:,.2f}" if abs(value) < 1000 else f"${number(value)}"
