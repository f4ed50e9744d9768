"""What a sample of second opinions says of verdicts: a stratified sample, error rates, and rates corrected by them.

In: labels, counts, and for sampled verdicts a weight and whether it was wrong. Out: plain numbers, None where there is
nothing to say. The second opinion is taken as the truth; what it errs itself is in no interval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stillhouse.stats.rates import Interval, quantile

DRAWS = 20_000

K = TypeVar("K", bound=Hashable)


def allocate(sizes: Mapping[K, int], wanted: int) -> dict[K, int]:
    """How many of each stratum to take: by share, at least one of each as far as that goes, never more than it has.

    wanted: in all. Strata that are smaller than their share leave the rest to the others.
    """
    taken = dict.fromkeys(sizes, 0)
    room = min(wanted, sum(sizes.values()))
    for name in sorted(sizes, key=lambda n: (-sizes[n], str(n)))[:room]:
        taken[name] = 1 if sizes[name] else 0
    room -= sum(taken.values())
    while room > 0:
        open_ones = {name: size for name, size in sizes.items() if taken[name] < size}
        whole = sum(open_ones.values())
        due = {name: room * size / whole for name, size in open_ones.items()}
        given = {name: min(int(due[name]), sizes[name] - taken[name]) for name in open_ones}
        if not any(given.values()):  # what is left is less than one each: the largest remainders
            for name in sorted(open_ones, key=lambda n: (-due[n], str(n)))[:room]:
                taken[name] += 1
            break
        for name, number in given.items():
            taken[name] += number
        room = min(wanted, sum(sizes.values())) - sum(taken.values())
    return taken


def draw(strata: Sequence[K], keys: Sequence[str], counts: Mapping[K, int], seed: int) -> list[int]:
    """Positions of the sample, ascending: of each stratum the `counts` with the lowest hash of seed and key.

    The same seed gives the same sample whatever the order, and a larger one contains a smaller one.
    """
    places: dict[K, list[tuple[bytes, int]]] = {}
    for position, (stratum, key) in enumerate(zip(strata, keys, strict=True)):
        digest = hashlib.blake2b(f"{seed}:{key}".encode(), digest_size=8).digest()
        places.setdefault(stratum, []).append((digest, position))
    chosen = [p for stratum, found in places.items() for _, p in sorted(found)[: counts.get(stratum, 0)]]
    return sorted(chosen)


@dataclass(frozen=True, slots=True)
class Rate:
    """A weighted share. effective: of how many equally weighted verdicts it tells as much (Kish)."""

    value: float
    interval: Interval
    effective: float


def weighted_rate(hits: ArrayLike, weights: ArrayLike, confidence: float = 0.95) -> Rate | None:
    """The share of hits among weighted rows, with Wilson's interval at the effective size. None for no rows.

    Source: Kish 1965; Korn and Graubard 1998 use the same size in their interval.
    """
    hit, weight = np.asarray(hits, float), np.asarray(weights, float)
    if not weight.size or weight.sum() <= 0:
        return None
    value = float((hit * weight).sum() / weight.sum())
    effective = float(weight.sum() ** 2 / (weight**2).sum())
    return Rate(value, _score_interval(value, effective, confidence), effective)


def _score_interval(rate: float, total: float, confidence: float) -> Interval:
    z = quantile(0.5 + confidence / 2)
    centre = rate + z * z / (2 * total)
    half = z * float(np.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total)))
    scale = 1 + z * z / total
    return max(0.0, min(rate, (centre - half) / scale)), min(1.0, max(rate, (centre + half) / scale))


def rogan_gladen(apparent: float, sensitivity: float, specificity: float) -> float | None:
    """The true rate behind an apparent one, clipped to [0, 1]; None where the test is no better than a coin.

    sensitivity: P(yes | right); specificity: P(no | wrong). Source: Rogan and Gladen 1978.
    """
    power = sensitivity + specificity - 1
    if power <= 1e-9:
        return None
    return float(min(1.0, max(0.0, (apparent + specificity - 1) / power)))


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors of verdicts as an audit found them: shares of wrong ones among yes and among no (Rate or None), and how
    many yes and no there were in all."""

    yes: int
    no: int
    false_yes: Rate | None
    false_no: Rate | None

    @property
    def known(self) -> bool:
        """Whether both shares are known, as far as there is anything they would be of."""
        return (self.false_yes is not None or not self.yes) and (self.false_no is not None or not self.no)

    def power(self) -> tuple[float, float] | None:
        """(sensitivity, specificity); None where they cannot be known."""
        if not self.known or not self.yes + self.no:
            return None
        found = _power(
            self.yes, self.no, np.array([self.false_yes.value if self.false_yes else 0.0]),
            np.array([self.false_no.value if self.false_no else 0.0]),
        )  # fmt: skip
        sensitivity, specificity = float(found[0][0]), float(found[1][0])
        return None if np.isnan(sensitivity) or np.isnan(specificity) else (sensitivity, specificity)


Floats = NDArray[np.float64]


def _power(yes: int, no: int, false_yes: Floats, false_no: Floats) -> tuple[Floats, Floats]:
    right_yes, wrong_yes = yes * (1 - false_yes), yes * false_yes
    right_no, wrong_no = no * false_no, no * (1 - false_no)
    with np.errstate(invalid="ignore"):
        return right_yes / (right_yes + right_no), wrong_no / (wrong_no + wrong_yes)


def corrected(passed: int, total: int, errors: Errors, *, seed: int = 1, confidence: float = 0.95) -> Rate | None:
    """The rate passed / total corrected for the verdicts' errors (Rogan and Gladen), clipped to [0, 1].

    Its interval carries what the sample of second opinions leaves open (Jeffreys posteriors of both shares at their
    effective sizes) beside the scatter of the rate itself. None where the errors are not known, or where a yes says
    nothing of what is right.
    """
    power = errors.power()
    if total <= 0 or power is None or not errors.yes or not errors.no:
        return _without_power(passed, total, errors)
    value = rogan_gladen(passed / total, *power)
    if value is None:
        return None
    random = np.random.default_rng(seed)
    sensitivity, specificity = _power(
        errors.yes, errors.no, _posterior(errors.false_yes, random), _posterior(errors.false_no, random)
    )
    apparent = random.beta(passed + 0.5, total - passed + 0.5, DRAWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = (apparent + specificity - 1) / (sensitivity + specificity - 1)
    drawn = np.clip(drawn[np.isfinite(drawn) & (sensitivity + specificity > 1 + 1e-9)], 0.0, 1.0)
    if not drawn.size:
        return None
    tail = (1 - confidence) / 2
    low, high = (float(q) for q in np.quantile(drawn, [tail, 1 - tail]))
    return Rate(value, (min(low, value), max(high, value)), float(total))


def _posterior(rate: Rate | None, random: np.random.Generator) -> Floats:
    if rate is None:
        return np.zeros(DRAWS)
    hits = rate.value * rate.effective
    return random.beta(hits + 0.5, rate.effective - hits + 0.5, DRAWS)


def _without_power(passed: int, total: int, errors: Errors) -> Rate | None:
    """Where all verdicts were yes, or all no, sensitivity and specificity are not defined, but the shares still say
    how many were right."""
    if total <= 0 or not errors.known or (passed and errors.false_yes is None):
        return None
    if passed < total and errors.false_no is None:
        return None
    yes = passed / total
    wrong = errors.false_yes or Rate(0.0, (0.0, 0.0), 1.0)
    missed = errors.false_no or Rate(0.0, (0.0, 0.0), 1.0)
    value = yes * (1 - wrong.value) + (1 - yes) * missed.value
    low = yes * (1 - wrong.interval[1]) + (1 - yes) * missed.interval[0]
    high = yes * (1 - wrong.interval[0]) + (1 - yes) * missed.interval[1]
    return Rate(value, (low, high), float(total))
