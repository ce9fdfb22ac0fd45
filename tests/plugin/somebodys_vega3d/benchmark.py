"""A benchmark: how many chairs are there?"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation import Benchmark, Metric, Protocol, Sample, Scores
from vega3d.evaluation.files import Folder, rows_of, sentence
from vega3d.evaluation.metrics.means import mean
from vega3d.evaluation.records import Field, Record, is_text, mappings, text


def read(folder: Folder) -> list[Sample]:
    """Questions of ``chairs.jsonl`` about videos beside it."""
    rows = rows_of(folder.first("chairs.jsonl"), (sentence("clip"),))
    return [
        Sample(id=str(number), record=row, media=folder.place(row["clip"]), scene=row["clip"], kind="chairs")
        for number, row in enumerate(rows)
    ]


def prompt(record: Record) -> str:
    """The question."""
    return "How many chairs are in this room? Answer with a number."


def first_digits(record: Record, output: str) -> str:
    """The digits in a model's text."""
    return "".join(character for character in output if character.isdigit())


def score(samples: Sequence[object]) -> Scores:
    """1 for the right number, 0 for any other."""
    records = mappings(samples)
    hits = [float(text(record, "prediction").strip() == text(record, "chairs")) for record in records]
    accuracy = mean(hits)
    rows = [{"right": hit} for hit in hits]
    return Scores(rows, {"accuracy": accuracy}, metrics=[Metric("accuracy", accuracy)])


BENCHMARK = Benchmark(
    name="count_chairs",
    title="Count the chairs",
    protocols=(
        Protocol(
            name="count_chairs",
            rules="1 for the right number",
            sources=("somebody",),
            fields=(Field("prediction", is_text, "the model's answer"),),
            prompt=prompt,
            clean_answer=first_digits,
            score=score,
            sample_score="right",
        ),
    ),
    read=read,
    license="none",
    source="somebody",
    layout="chairs.jsonl and the videos that it names",
    truth="chairs",
)
