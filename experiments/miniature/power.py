"""How many rooms and seeds does it take to see a difference of 1.5 points?

The paired difference of two arms varies for two reasons: which rooms are asked about (questions about one
room share its luck, so rooms are what counts) and which seeds were trained with. With R rooms and S seeds

    SE^2 = rooms^2 / R + seeds^2 / S,    seen with 80 % power: (z(1 - a/2) + z(0.8)) SE,

a = 0.05, or 0.025 where the stricter of two corrected tests has to hold. Where the spreads come from is said
in the plans. The effect to expect is what probes read more from one arm's features than from the other's, as
accuracy in points, times the uptake of the language model. A plan that could not see it is refused. This
module knows no arm and no file.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from vega3d.errors import ConfigError, InputError

TARGET, POWER, LEVEL = 1.5, 0.8, 0.05


@dataclass(frozen=True)
class Spread:
    """Standard deviations in points of a paired difference.

    Attributes:
        rooms: from room to room, of the difference in one room.
        seeds: from seed to seed, of the difference over endlessly many rooms.
    """

    rooms: float
    seeds: float

    @classmethod
    def planned(cls, one_arm: float = 12.0, correlation: float = 0.7, seeds: float = 0.7) -> Spread:
        """From the spread of one arm's score over rooms and how alike two arms are in a room."""
        return cls(one_arm * math.sqrt(2 * (1 - correlation)), seeds)

    @classmethod
    def expected(cls, questions: str) -> Spread:
        """The plan's expectation: assumed for VSI-Bench's questions, measured for those of where."""
        return cls(rooms=13.6, seeds=0.7) if questions == "where" else cls.planned()

    @classmethod
    def measured(cls, contrast: Mapping[str, Any]) -> Spread:
        """From a contrast of ``analysis.analyse``; one seed says nothing about seeds, so the plan's stays.

        Raises:
            InputError: it has one room.
        """
        if contrast["error_rooms"] is None:
            raise InputError("One room has no spread.", got="1 room", expected="2 or more")
        seeds = contrast["seeds"]
        spread = statistics.stdev(seeds) if len(seeds) > 1 else cls.planned().seeds
        return cls(contrast["error_rooms"] * math.sqrt(contrast["rooms"]), spread)


def standard_error(spread: Spread, rooms: int, seeds: int) -> float:
    """Of the difference, in points."""
    return math.sqrt(spread.rooms**2 / rooms + spread.seeds**2 / seeds)


def smallest_seen(
    spread: Spread, rooms: int, seeds: int, power: float = POWER, level: float = LEVEL
) -> float:
    """The difference in points that is seen with this power at this level, two-sided."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power)) * standard_error(spread, rooms, seeds)


def power_at(spread: Spread, rooms: int, seeds: int, points: float = TARGET, level: float = LEVEL) -> float:
    """How likely a true difference of so many points is found to differ from 0, two-sided."""
    normal = NormalDist()
    edge, shift = normal.inv_cdf(1 - level / 2), points / standard_error(spread, rooms, seeds)
    return normal.cdf(shift - edge) + normal.cdf(-shift - edge)


def expected_effect(gap: float, uptake: float) -> float:
    """Points that an arm should gain: the gap between two probes in points, times the uptake.

    Raises:
        ConfigError: the uptake is undefined, so that nothing can be expected.
    """
    if not math.isfinite(uptake) or not math.isfinite(gap):
        what = "Invalid expectation: gap and uptake have to be numbers."
        raise ConfigError(
            what, got=f"gap {gap}, uptake {uptake}", expected="a defined uptake", fix="measure it"
        )
    return gap * uptake


def require_visible(
    spread: Spread, rooms: int, seeds: int, gap: float, uptake: float, level: float = LEVEL
) -> float:
    """The expected effect in points.

    Args:
        spread: of the paired difference.
        rooms, seeds: of the plan.
        gap: between the probes of the two arms, in points of accuracy.
        uptake: of the language model, measured with true inputs.
        level: two-sided.

    Raises:
        ConfigError: it is smaller than what the plan sees with 80 % power.
    """
    effect, least = expected_effect(gap, uptake), smallest_seen(spread, rooms, seeds, level=level)
    if effect < least:
        raise ConfigError(
            f"Invalid plan: {rooms} rooms and {seeds} seeds cannot see the effect to expect.",
            got=f"{effect:.2f} points (a gap of {gap:.2f} at an uptake of {uptake:.2f})",
            expected=f"{least:.2f} points or more",
            fix="more rooms or seeds, or questions on which the uptake or the gap is larger",
        )
    return effect


def rooms_needed(
    spread: Spread, seeds: int, points: float = TARGET, power: float = POWER, level: float = LEVEL
) -> int | None:
    """Fewest rooms that are enough; None if the seeds alone vary too much for any number of rooms."""
    normal = NormalDist()
    allowed = (points / (normal.inv_cdf(1 - level / 2) + normal.inv_cdf(power))) ** 2
    left = allowed - spread.seeds**2 / seeds
    return None if left <= 0 else math.ceil(spread.rooms**2 / left)


def table(spread: Spread, seeds: tuple[int, ...] = (1, 2, 3, 5, 8)) -> str:
    """Rooms for 1.5 points by seeds, for one test and for the stricter of two, in Markdown."""
    lines = ["| seeds | rooms, one test | rooms, the stricter of two |", "|---|---|---|"]
    for count in seeds:
        found = [rooms_needed(spread, count, level=level) for level in (LEVEL, LEVEL / 2)]
        cells = ["no number" if rooms is None else str(rooms) for rooms in found]
        lines.append(f"| {count} | {' | '.join(cells)} |")
    return "\n".join(lines)


def said(spread: Spread, rooms: int, seeds: int) -> str:
    """One sentence about a design."""
    found = power_at(spread, rooms, seeds)
    least, strict = (smallest_seen(spread, rooms, seeds, level=level) for level in (LEVEL, LEVEL / 2))
    return (
        f"{rooms} rooms, {seeds} seeds: {100 * found:.0f} % power at {TARGET} points; with 80 % power "
        f"{least:.2f} points are seen ({strict:.2f} by the stricter of two tests)."
    )
