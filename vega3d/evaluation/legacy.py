"""`Task` of version 0.1: a protocol that only scores files. It goes with version 0.3; use `Benchmark`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Scores, question_of
from vega3d.evaluation.records import Field, Record


def Task(
    *,
    name: str,
    title: str,
    protocol: str,
    version: str,
    sources: tuple[str, ...],
    fields: tuple[Field, ...],
    score: Callable[..., Scores],
    headline: tuple[tuple[str, ...], ...],
    prompt: Callable[[Record], str] | None = None,
    file_fields: tuple[str, ...] = (),
    keeps: Callable[[Record], bool] | None = None,
) -> Protocol:
    """The protocol with the settings of a `Task` of version 0.1."""

    def scored(samples: Sequence[object], **file_values: Any) -> Scores:
        scores = score(samples, **file_values)
        return replace(scores, metrics=[Metric(" ".join(p), _at(scores.aggregates, p)) for p in headline])

    scored_only = Protocol(
        name=name,
        title=title,
        rules=protocol,
        version=version,
        sources=sources,
        fields=fields,
        score=scored,
        prompt=prompt or question_of,
        file_fields=file_fields,
        filter=keeps,
    )
    return Benchmark(name=name, title=title, protocols=(scored_only,)).protocols[0]


def _at(aggregates: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        aggregates = aggregates.get(name) if isinstance(aggregates, dict) else None
    return aggregates
