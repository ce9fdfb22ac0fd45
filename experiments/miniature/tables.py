"""The tables of a run in Markdown. This module computes no statistics and knows no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.miniature.arms import ARMS
from experiments.miniature.config import SETS

UNKNOWN = "–"
CONSTANT = "*best constant answer*"
WATCHED = {"fusion/gate": "gate", "fusion/gate_spread": "its spread", "fusion/contribution": "contribution"}


def arms_table(analysis: Mapping[str, Any]) -> str:
    """Score of each arm on each held-out set, mean ± standard error in points."""
    sets = [name for name in SETS if name in analysis["arms"]]
    rows = [
        [ARMS[arm].title, *(_score(analysis["arms"][name].get(arm)) for name in sets)]
        for arm in analysis["arms"][sets[0]]
    ]
    if blind := analysis["blind"]:
        rows.append([CONSTANT, *(_number(blind.get(name, {}).get("mean")) for name in sets)])
    return markdown(["arm", *(name.replace("rooms", "held-out rooms") for name in sets)], rows)


def contrasts_table(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Paired differences with their intervals."""
    rows = [
        [
            ARMS[one["arm"]].title,
            ARMS[one["over"]].title,
            *_gap(one),
            f"{one['p_holm']:.4f} (Holm)" if "p_holm" in one else f"{one['p']:.4f}",
            str(one["questions"]),
        ]
        for one in contrasts
    ]
    return markdown(["arm", "over", "points", "95 %", "p", "questions"], rows)


def elsewhere_table(elsewhere: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The deciding differences on the other sets."""
    rows = [
        [name, ARMS[one["arm"]].title, ARMS[one["over"]].title, *_gap(one), str(one["rooms"])]
        for name, own in elsewhere.items()
        for one in own
    ]
    return markdown(["set", "arm", "over", "points", "95 %", "rooms"], rows)


def types_table(
    types: Mapping[str, Mapping[str, tuple[float, float | None]]], constant: Mapping[str, float]
) -> str:
    """Score of each question type, a column an arm."""
    kinds = sorted({kind for own in types.values() for kind in own})
    rows = [
        [
            kind.replace("_", " "),
            *(_plus_minus(*own[kind], ".1f") if kind in own else UNKNOWN for own in types.values()),
            _number(constant.get(kind)),
        ]
        for kind in kinds
    ]
    return markdown(["question type", *(ARMS[arm].title for arm in types), CONSTANT], rows)


def swapped_table(swapped: Sequence[Mapping[str, Any]]) -> str:
    """The loss of an arm with another clip's features."""
    rows = [[ARMS[one["arm"]].title, *_gap(one), f"{one['p']:.4f}"] for one in swapped]
    return markdown(["arm", "points over itself with another clip's", "95 %", "p"], rows)


def watch_table(watch: Mapping[str, Mapping[str, float]]) -> str:
    """The fusion at the end of tuning, where it learned at all."""
    rows = [
        [ARMS[arm].title, *(f"{found[name]:.3f}" if name in found else UNKNOWN for name in WATCHED)]
        for arm, found in _in_order(watch)
        if ARMS[arm].listens
    ]
    return markdown(["arm", *WATCHED.values()], rows)


def probes_table(probes: Mapping[str, Mapping[str, Any]]) -> str:
    """R2 of log depth and consistency, ± standard error."""
    names = ("depth_ridge", "depth_mlp", "consistency")
    rows = [
        [ARMS[arm].title, *(_plus_minus(*found[name], ".3f") if name in found else UNKNOWN for name in names)]
        for arm, found in _in_order(probes)
    ]
    return markdown(["features", "depth, ridge", "depth, MLP", "consistency"], rows)


def host_table(host: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """The host's score on pico's own questions, as shipped and cut down, in percent."""
    before, after = (host.get(name, {}) for name in ("before", "after"))
    rows = [
        [
            kind.replace("_", " "),
            *(_plus_minus(100 * own[kind]["score"], 100 * own[kind]["se"], ".0f") for own in (before, after)),
            f"{100 * before[kind]['blind']:.0f}",
            str(before[kind]["n"]),
        ]
        for kind in before
    ]
    return markdown(["questions", "host as shipped", "cut down", "*best blind answer*", "asked"], rows)


def cost_table(cost: Mapping[str, Mapping[str, Any]]) -> str:
    """The cost of each arm; seconds are of the attempt that ended a stage."""
    rows = [
        [
            ARMS[arm].title,
            f"{found['new_parameters']:,}",
            f"{found['gflop_a_clip']:.1f}" if found["gflop_a_clip"] else UNKNOWN,
            f"{found['feature_seconds']:.0f}",
            f"{found['feature_bytes'] / 1e6:.1f}",
            f"{found['tuning_seconds']:.0f}",
        ]
        for arm, found in _in_order(cost)
    ]
    titles = [
        "arm",
        "new parameters",
        "GFLOP a clip",
        "features, CPU s",
        "store, MB",
        "tuning of a seed, CPU s",
    ]
    return markdown(titles, rows)


def ames_table(ames: Mapping[str, Mapping[str, Any]]) -> str:
    """How often the nearer thing was named rightly, and in how many pairs the answer flipped."""
    rows = [
        [ARMS[arm].title, str(found["pairs"])]
        + [f"{100 * found[name]:.0f} %" for name in ("host", "fused", "swapped", "flipped")]
        for arm, found in _in_order(ames)
    ]
    return markdown(["arm", "pairs", "host alone", "fused", "fused, twin's features", "answer flips"], rows)


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; nothing without rows."""
    if not rows:
        return ""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _gap(one: Mapping[str, Any]) -> list[str]:
    """Points with their error, and the interval."""
    return [
        _plus_minus(one["difference"], one["error"], "+.2f"),
        UNKNOWN if one["interval"] is None else "{:+.2f} to {:+.2f}".format(*one["interval"]),
    ]


def _score(found: Mapping[str, Any] | None) -> str:
    if found is None or found["mean"] is None:
        return UNKNOWN
    return _plus_minus(found["mean"], found["error"], ".1f")


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:.1f}"


def _in_order(found: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """As the arms are listed; a file of results is sorted by name."""
    return [(arm, found[arm]) for arm in ARMS if arm in found]


def _plus_minus(value: float, error: float | None, form: str) -> str:
    spread = UNKNOWN if error is None else format(error, form.lstrip("+"))
    return f"{value:{form}} ± {spread}"
