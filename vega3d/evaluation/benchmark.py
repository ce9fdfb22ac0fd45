"""One benchmark: how its records are read, asked, cleaned, scored and compared, declared in one place.

Decision: a benchmark is data plus a few functions, and everything reads the same object: ``vega3d eval run``,
``score``, ``compare``, ``list``, ``check`` and the lmms-eval plug-in. Two ways to score one benchmark are two
protocols with two names. Their numbers are never put in one column.

A third party's benchmark is an instance of `Benchmark` under the entry-point group ``vega3d.benchmarks``.
This module depends on no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from vega3d.errors import ConfigError
from vega3d.evaluation.files import Folder
from vega3d.evaluation.media import Media, MediaFormat
from vega3d.evaluation.records import Field, Record, text


@dataclass(frozen=True)
class Sample:
    """One question about one clip.

    Attributes:
        id: unique in its benchmark.
        record: the row of the benchmark, with every field that its protocols read.
        media: a video, a folder of pictures or single pictures; they need not exist.
        scene: the room; samples that share it are not independent.
        kind: the type of question that results are listed by.
    """

    id: str
    record: Mapping[str, Any]
    media: Media
    scene: str
    kind: str


@dataclass(frozen=True)
class Metric:
    """One number that tables print.

    Attributes:
        name: states scale and rules, such as ``aggregate_percent CIDEr``.
        value: None if it cannot be computed.
        scale: value of a perfect answer, usually 1 or 100.
    """

    name: str
    value: float | None
    scale: float = 1.0


@dataclass(frozen=True)
class Scores:
    """Scores of a protocol.

    Attributes:
        per_sample: one JSON object a sample, in the order of the samples.
        aggregates: JSON values by name; None if a value is not defined.
        unavailable: reasons by name of the metrics that cannot be computed.
        metrics: the numbers that tables print; their names do not depend on the samples.
    """

    per_sample: list[dict[str, Any]]
    aggregates: dict[str, Any]
    unavailable: dict[str, str] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()

    @property
    def headline(self) -> dict[str, float | None]:
        """The printed numbers by name."""
        return {metric.name: metric.value for metric in self.metrics}


def metrics(
    group: str, values: Mapping[str, float | None], names: Iterable[str], scale: float = 1.0
) -> list[Metric]:
    """The named values of one group of aggregates as metrics."""
    return [Metric(f"{group} {name}", values.get(name), scale) for name in names]


def question_of(record: Record) -> str:
    """The text under ``question``."""
    return text(record, "question")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to ask and to score a benchmark.

    Attributes:
        name: ``benchmark`` or ``benchmark/protocol``; every output carries it.
        rules: a sentence or two.
        sources: origins of the rules.
        fields: fields that are scored; a file in which no record has one of them is refused.
        score: from records (any JSON objects) to scores, one for each record that ``filter`` keeps. Never
            raises.
        version: raised whenever a score can change.
        title: name in tables; the benchmark's if empty.
        prompt: text that is asked.
        clean_answer: the field ``prediction`` made from a record and a model's text; None uses the text.
        parse: from an answered record to the part of the answer that is scored, for reports; None is the
            field ``prediction``.
        sample_score: field of a scored sample (0 to 1) that means and errors are taken of, or a function.
        filter: keeps the records of the protocol; None keeps all.
        read: replaces the benchmark's reader.
        file_fields: values beside the samples in a file, passed to ``score`` by name.
        score_only: reason why a model that writes text cannot be asked; empty if it can.
        benchmark: set by the benchmark that lists the protocol.
    """

    name: str
    rules: str
    sources: tuple[str, ...]
    fields: tuple[Field, ...]
    score: Callable[..., Scores]
    version: str = "1"
    title: str = ""
    prompt: Callable[[Record], str] = question_of
    clean_answer: Callable[[Record, str], Any] | None = None
    parse: Callable[[Record], Any] | None = None
    sample_score: str | Callable[[Record], float | None] = "score"
    filter: Callable[[Record], bool] | None = None
    read: Callable[[Folder], list[Sample]] | None = None
    file_fields: tuple[str, ...] = ()
    score_only: str = ""
    benchmark: Benchmark = field(default=None, repr=False, compare=False)  # type: ignore[assignment]

    @property
    def official(self) -> int | None:
        """Number of samples of the whole split; None if it is not published."""
        return None if self.filter else self.benchmark.official

    def samples(self, root: Path, *, follow_links: bool = False) -> list[Sample]:
        """Read the samples of a folder that belong to the protocol.

        Raises:
            ConfigError: the protocol only scores files.
            InputError: the folder does not hold the benchmark.
        """
        read = self.read or self.benchmark.read
        if read is None or self.score_only:
            raise score_only(self.name, self.score_only or "it has no reader of samples")
        samples = read(Folder(root, self.benchmark.name, follow_links))
        return samples if self.filter is None else [s for s in samples if self.filter(s.record)]

    def answered(self, record: Record, output: str) -> dict[str, Any]:
        """A record with a model's answer, as ``score`` reads it."""
        cleaned = output if self.clean_answer is None else self.clean_answer(record, output)
        return {**record, "prediction": cleaned}

    def parsed(self, record: Record, output: str) -> Any:
        """The part of a model's answer that is scored."""
        answered = self.answered(record, output)
        value = answered["prediction"] if self.parse is None else self.parse(answered)
        is_json = not isinstance(value, float) or math.isfinite(value)
        return value if is_json else str(value)

    def score_of(self, scored: Record) -> float | None:
        """The number of a scored sample that means and errors are taken of."""
        value = self.sample_score(scored) if callable(self.sample_score) else scored.get(self.sample_score)
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark with its protocols.

    Attributes:
        name: first part of the names of its protocols.
        protocols: at least one.
        title: name in tables; the name if empty.
        read: samples of a folder, in the order of the benchmark's own file; None if it only scores files.
        media: frames that a model sees.
        license: terms of questions and media.
        source: origin of the files.
        layout: files that ``read`` needs, in words.
        official: number of samples of the whole split; None if it is not published.
        max_new_tokens: length of an answer.
        system: system prompt; empty keeps the host's own.
        truth: field of a record that holds the true answer.
        groups: kinds that count as one in the macro mean, by the name of that one.
        constant_baseline: answers are words that are scored one by one, so that constant ones can be tried.
        chance: expected score of a guess at one record; None if unknown.
    """

    name: str
    protocols: tuple[Protocol, ...]
    title: str = ""
    read: Callable[[Folder], list[Sample]] | None = None
    media: MediaFormat = field(default_factory=MediaFormat)
    license: str = ""
    source: str = ""
    layout: str = ""
    official: int | None = None
    max_new_tokens: int = 16
    system: str = ""
    truth: str = "ground_truth"
    groups: Mapping[str, str] = field(default_factory=dict)
    constant_baseline: bool = False
    chance: Callable[[Record], float | None] | None = None

    def __post_init__(self) -> None:
        title = self.title or self.name
        bound = tuple(replace(p, benchmark=self, title=p.title or title) for p in self.protocols)
        object.__setattr__(self, "protocols", bound)


def score_only(name: str, reason: str) -> ConfigError:
    """The error for a benchmark or a protocol that cannot be run."""
    what = f"Invalid task to run: {name} cannot be asked of a model that writes text."
    fix = f"score a file: vega3d eval score {name} FILE --out OUT"
    return ConfigError(what, got=reason, expected="a protocol with a reader of samples", fix=fix)
