"""Small SVG drawings: scales, axes and marks as text, with classes for colours so that a page can be light or dark.

In: numbers and names. Out: SVG elements as strings. Every text goes through report_text; no style attributes, so that
the page's content policy needs no exception.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from stillhouse.reporting.text import shorten, visible

Scale = Callable[[float], float]
LETTER = 7.0  # width of a letter at 12 px: generous for most faces, just enough for the widest that are common

PALETTE = ("#0b6bab", "#c4520b", "#0a7f5f", "#a3458b", "#7d6b00", "#4f57c4", "#8a4b3a", "#52616b")
STANDALONE = (
    "text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#2b3036}.grid{stroke:#e6e7e9}"
    ".zero{stroke:#8b9299}.band{fill:#e9eaec}.strong{font-weight:600}.faint{fill:#6b737b}.name{font-weight:500}"
    ".line,.whisker{fill:none;stroke-width:1.75;stroke-linejoin:round}.whisker{stroke-width:1.25}"
    ".thin{fill:none;stroke-width:1;stroke-opacity:.35}.median{stroke-width:2.5}.mean{fill:#fff;stroke-width:1.5}"
    ".wash{fill-opacity:.18;stroke:none}.box{fill-opacity:.28;stroke-width:1.25}.on{fill:#fff}.none{fill:#dfe1e4}"
    ".o1{fill-opacity:.95}.o2{fill-opacity:.68}.o3{fill-opacity:.48}.o4{fill-opacity:.3}"
    + "".join(f".s{n}{{stroke:{c}}}.f{n}{{fill:{c}}}.b{n}{{stroke:{c};fill:{c}}}" for n, c in enumerate(PALETTE))
    + ".wash{stroke:none}.mean{fill:#fff}.n0{fill:#e2e4e7}.n1{fill:#a4abb2}.sn{stroke:#6b737b}.fn{fill:#6b737b}"
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


def decades(low: float, high: float) -> list[float]:
    """Powers of ten between low and high."""
    powers = range(math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9) + 1)
    return [10.0**p for p in powers] or [low, high]


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
        inside = _tip(tip) if tip != words else ""
        named = f' class="{kind}"' if kind else ""
        placed = f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.marks.append(f'<text x="{x:.1f}" y="{y:.1f}"{placed}{named}>{inside}{escape(visible(words))}</text>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str, tip: str = "") -> None:
        ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
        self.marks.append(f'<line {ends} class="{kind}">{_tip(tip)}</line>')

    def rect(self, x: float, y: float, width: float, height: float, kind: str, tip: str = "", round_: int = 0) -> None:
        corners = f' rx="{round_}"' if round_ else ""
        self.marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0):.1f}" height="{max(height, 0):.1f}"{corners} '
            f'class="{kind}">{_tip(tip)}</rect>'
        )

    def circle(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        self.marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" class="{kind}">{_tip(tip)}</circle>')

    def path(self, points: Sequence[tuple[float, float]], kind: str, tip: str = "", *, closed: bool = False) -> None:
        if points:
            steps = "L".join(f"{x:.1f},{y:.1f}" for x, y in points)
            self.marks.append(f'<path d="M{steps}{"Z" if closed else ""}" class="{kind}">{_tip(tip)}</path>')

    def label(self, y: float, room: float, words: str, kind: str = "name") -> None:
        """A row's name, set to the right of a column of `room` pixels, shortened to fit it."""
        self.text(room - 10, y, fitted(words, room - 12), anchor="end", kind=kind, tip=words)

    def svg(self, *, standalone: bool = False, kind: str = "") -> str:
        """The element; standalone: a file of its own, with its colours inside."""
        space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
        style = f'<style>{STANDALONE}</style><rect width="100%" height="100%" fill="#fff"/>' if standalone else ""
        named = f' class="{kind}"' if kind else ""
        return (
            f'<svg{space}{named} viewBox="0 0 {self.width:.0f} {self.height:.0f}" width="{self.width:.0f}" '
            f'height="{self.height:.0f}" role="img" aria-label="{escape(visible(self.title))}">{style}'
            f"{''.join(self.marks)}</svg>"
        )


def _tip(words: str) -> str:
    return f"<title>{escape(visible(shorten(words, 400)))}</title>" if words else ""


def fitted(name: str, pixels: float) -> str:
    """A name as it is shown, shortened to fit so many pixels."""
    return shorten(visible(name), max(int(pixels / LETTER), 1))


def colour(place: int) -> int:
    """The palette's entry of the teacher at this place of the recipe."""
    return place % len(PALETTE)


def room_for(labels: Sequence[str], width: float, most: float = 0.36) -> float:
    """Pixels of a column that holds the labels, at most a share of the width."""
    return min(max((len(visible(label)) for label in labels), default=4) * LETTER + 14, width * most)


def bottom_axis(
    drawing: Drawing, scale: Scale, ticks: Sequence[float], y: float, top: float, label: Callable[[float], str] = number
) -> None:
    """Ticks with grid lines up to `top`; labels that would touch the one before, or leave the drawing, are left out
    or moved inside."""
    last = -math.inf
    for tick in ticks:
        x = scale(tick)
        drawing.line(x, y, x, top, "grid")
        words = label(tick)
        half = len(words) * LETTER / 2
        centre = min(max(x, half), drawing.width - half)
        if centre - half > last + 6:
            drawing.text(centre, y + 16, words, anchor="middle", kind="faint")
            last = centre + half


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
        drawing.text(x - 7, y + 4, label(tick), anchor="end", kind="faint")


def legend(drawing: Drawing, names: Sequence[str], y: float = 11, kinds: Sequence[str] = ()) -> float:
    """Colour keys in rows that fit the width, none for a single name; returns the y below the last row."""
    if len(names) < 2:
        return 2.0
    place = 0.0
    for at, name in enumerate(names):
        shown = shorten(visible(name), 26)
        need = 16 + len(shown) * LETTER + 16
        if place > 0 and place + need > drawing.width:
            place, y = 0.0, y + 19
        drawing.rect(place, y - 9, 10, 10, kinds[at] if kinds else f"f{colour(at)}", round_=2)
        drawing.text(place + 16, y, shown, tip=name)
        place += need
    return y + 18


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def percent_tenth(value: float) -> str:
    return f"{100 * value:.1f} %"


def dollars(value: float) -> str:
    """Dollars with the digits that matter at their size."""
    if value == 0:
        return "$0"
    if abs(value) < 0.1:
        return f"${value:#.2g}" if abs(value) >= 1e-4 else f"${value:.1e}"
    return f"${value:,.2f}" if abs(value) < 1000 else f"${number(value)}"
