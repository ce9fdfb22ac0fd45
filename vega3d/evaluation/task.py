"""What a task is: one protocol of one benchmark, declared in one place.

Decision: a protocol is data plus one function. The data says what it is called, which version of it this is,
where its rules come from and which fields of a record it reads; the function turns records into scores. Two
ways to score one benchmark are two tasks with two names, and their numbers are never put in one column.

A task knows nothing of files, of models and of other tasks. Somebody else's task is an instance of `Task`
under the entry-point group ``vega3d.tasks``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vega3d.evaluation.records import Field, Record


@dataclass(frozen=True)
class Scores:
    """What a protocol makes of its samples.

    Attributes:
        per_sample: one JSON object a sample, in the order of the samples.
        aggregates: JSON values by name; None where nothing can be said.
        unavailable: metrics that cannot be computed here, and why.
    """

    per_sample: list[dict[str, Any]]
    aggregates: dict[str, Any]
    unavailable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A protocol.

    Attributes:
        name: what users write and what every output carries: ``benchmark`` or ``benchmark/protocol``.
        title: the benchmark's own name.
        protocol: the rules in a sentence or two.
        version: raised whenever a score can change.
        sources: where the rules come from.
        fields: what is read of each record; a file in which nobody has one of them is refused.
        score: from records (any JSON objects) to scores; never raises, whatever the records hold.
        headline: the aggregates that tables print, as paths into `Scores.aggregates`.
        prompt: the published text of a question, where the protocol fixes it.
        file_fields: values beside the samples in a file, handed to ``score`` by name.
        keeps: whether a question belongs to the protocol; None keeps all. ``score`` has a sample for each
            record that is kept, and for no other.
    """

    name: str
    title: str
    protocol: str
    version: str
    sources: tuple[str, ...]
    fields: tuple[Field, ...]
    score: Callable[..., Scores]
    headline: tuple[tuple[str, ...], ...]
    prompt: Callable[[Record], str] | None = None
    file_fields: tuple[str, ...] = ()
    keeps: Callable[[Record], bool] | None = None

    def headlines(self, aggregates: dict[str, Any]) -> dict[str, Any]:
        """The printed numbers by their whole path, which says scale and rules; None where there is none."""
        found: dict[str, Any] = {}
        for path in self.headline:
            value: Any = aggregates
            for name in path:
                value = value.get(name) if isinstance(value, dict) else None
            found[" ".join(path)] = value
        return found


def mappings(samples: Sequence[object]) -> list[Record]:
    """The samples as records; what is no object becomes an empty record, so that places are kept."""
    return [sample if isinstance(sample, dict) else {} for sample in samples]
