"""Many comparisons at once, and what one of them lets us say: Holm's correction, outcomes, queries needed.

In: p-values, intervals, margins. Out: corrected p-values, one of a | b | equal | cannot_tell, and the number of
queries that would decide. `equal` is the two one-sided tests procedure: the 90 % interval lies inside the margin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from stillhouse.stats.rates import Interval, quantile

Outcome = Literal["a", "b", "equal", "cannot_tell"]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down corrected p-values in the given order; None (no test) stays None and is not counted."""
    tested = sorted((p, place) for place, p in enumerate(values) if p is not None)
    out: list[float | None] = [None] * len(values)
    running = 0.0
    for rank, (p, place) in enumerate(tested):
        running = max(running, min(1.0, p * (len(tested) - rank)))
        out[place] = running
    return out


def outcome(
    difference: float, p: float | None, inside: Interval | None, margin: Interval, alpha: float = 0.05
) -> Outcome:
    """What a comparison says of a against b: `a` where the difference is positive and p (corrected) < alpha.

    inside: the 90 % interval, on the scale of margin; where it lies inside, the two are equal for all practical
    ends, even if a small difference is certain.
    """
    if inside is not None and margin[0] <= inside[0] and inside[1] <= margin[1]:
        return "equal"
    if p is not None and p < alpha and difference != 0:
        return "a" if difference > 0 else "b"
    return "cannot_tell"


def queries_needed(
    effect: float, deviation: float, margin: Interval, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Queries that would decide, if the effect and its deviation per query stay what they are; None if none would.

    effect and deviation: of one query's contribution, on the scale of margin. The smaller of what a two-sided test
    at `alpha` needs to see the effect, and of what two one-sided 5 % tests need to place it inside the margin.
    """
    if deviation <= 0 or not math.isfinite(deviation) or not math.isfinite(effect):
        return None
    needs: list[float] = []
    if effect != 0:
        needs.append(((quantile(1 - alpha / 2) + quantile(power)) * deviation / abs(effect)) ** 2)
    if margin[0] < effect < margin[1]:
        room = min(effect - margin[0], margin[1] - effect)
        # With the effect in the middle both one-sided tests must hold at once, which costs half of the failures each.
        middle = abs((effect - margin[0]) - (margin[1] - effect)) < 0.5 * (margin[1] - margin[0])
        reach = quantile(0.95) + quantile(1 - (1 - power) / 2 if middle else power)
        needs.append((reach * deviation / room) ** 2)
    return math.ceil(min(needs)) if needs else None
