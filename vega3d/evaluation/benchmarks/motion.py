"""Motion: what the camera or a thing does in the quarter second before the one frame that the host sees.

Two clips share that frame to the pixel and have opposite answers (reversal twins, `vega3d.rooms`). So a
host alone is right in half of the cases by construction, whatever it was trained on. ``both_right`` is the
share of pairs of questions with both answers right: 0 for a model that ignores the features, 25 % for a coin.
``closer_than_usual`` is the exception: one picture shows the answer, and it has no twin.

One frame is sent as a video (``--frames 1 --send video``, the defaults of this benchmark): the frame in the
middle is then sampled, and a generator in mode ``window`` encodes the frames that end there. With
``--frames 9 --send images`` the host itself sees the motion. Clips of one pair are no independent scenes, so
errors are taken over pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores, metrics
from vega3d.evaluation.benchmarks._lettered import chance_among, prompt_of
from vega3d.evaluation.files import OPTIONS, Folder, identifier, rows_of, scene_name, sentence
from vega3d.evaluation.media import MediaFormat
from vega3d.evaluation.metrics.means import Means, by_group, mean
from vega3d.evaluation.metrics.numbers import first_word
from vega3d.evaluation.records import Field, Record, add_ids, is_text, mappings, text, texts

FILE = "motion.jsonl"
REQUIRED = (
    scene_name("dataset"),
    scene_name("scene_name"),
    scene_name("pair"),
    sentence("question"),
    sentence("question_type"),
)


def read(folder: Folder) -> list[Sample]:
    """Questions of ``motion.jsonl`` about ``<dataset>/<scene_name>.mp4``; a pair is one scene."""
    rows = rows_of(folder.first(FILE), REQUIRED, (OPTIONS, identifier("id")), unique=("id",))
    names = [f"{row['dataset']}/{row['scene_name']}" for row in rows]
    media = {name: folder.place(f"{name}.mp4") for name in dict.fromkeys(names)}
    return [
        Sample(str(row.get("id", number)), row, media[name], str(row["pair"]), row["question_type"])
        for number, (row, name) in enumerate(zip(rows, names, strict=True))
    ]


def prompt(record: Record) -> str:
    """VSI-Bench's text of a question with options."""
    return prompt_of(text(record, "question"), texts(record, "options"))


def parse(record: Record) -> str:
    """The first word of an answer."""
    return str(first_word(text(record, "prediction")))


def sample_score(record: Record) -> float:
    """1 if the first word is the right letter, else 0."""
    truth = text(record, "ground_truth")
    return float(bool(truth) and parse(record).lower() == truth.lower())


def score(samples: Sequence[object]) -> Scores:
    """Accuracy by type and its mean; the share of pairs with both answers right."""
    records = mappings(samples)
    scores = [sample_score(record) for record in records]
    kinds = by_group([text(record, "question_type") for record in records], scores)
    accuracy: Means = {**kinds, "overall": mean(kinds.values())}
    both = both_right(records, scores)
    rows = add_ids(records, [{"score": value} for value in scores])
    tables = {"accuracy": accuracy, "both_right": both}
    return Scores(rows, tables, metrics=[*metrics("accuracy", accuracy, ["overall"]),
                                         *metrics("both_right", both, ["overall"])])  # fmt: skip


def both_right(records: Sequence[Record], scores: Sequence[float]) -> Means:
    """Share of pairs with both answers right, by type; questions without a twin are left out."""
    pairs: dict[tuple[str, str], list[float]] = {}
    for record, value in zip(records, scores, strict=True):
        pairs.setdefault((text(record, "question_type"), text(record, "pair")), []).append(value)
    whole = {key: float(all(values)) for key, values in pairs.items() if len(values) == 2}
    kinds = by_group([kind for kind, _ in whole], list(whole.values()))
    return {**kinds, "overall": mean(kinds.values())}


PROTOCOL = Protocol(
    name="motion",
    rules="the first word equals the letter; mean of the types; both_right: pairs with both answers right",
    sources=("vega3d.rooms",),
    fields=(
        Field("prediction", is_text, "the model's answer"),
        Field("ground_truth", is_text, "a letter"),
        Field("question_type", is_text, "such as camera_turn"),
    ),
    prompt=prompt,
    parse=parse,
    score=score,
)
BENCHMARK = Benchmark(
    name="motion",
    title="Motion twins",
    protocols=(PROTOCOL,),
    read=read,
    media=MediaFormat(frames=1, send="video"),
    system="You are a helpful assistant.",
    layout=f"{FILE} and <dataset>/<scene_name>.mp4",
    source="`vega3d rooms export --layout motion`",
    license="apache-2.0",
    constant_baseline=True,
    chance=chance_among("options"),
)
