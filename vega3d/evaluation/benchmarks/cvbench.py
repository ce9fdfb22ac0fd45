"""CV-Bench: counting, relations, depth and distance in single pictures, by letters.

VG-LLM's reading of a letter, which VEGA-3D shares; lmms-eval 0.7.3 reads differently and stands in a block of
its own. ``combined`` is ((ADE20K + COCO) / 2 + Omni3D) / 2 over the sources that a file has; lmms-eval's own
task reports the micro average. Questions about one picture share it, so errors are taken over pictures.

Files are the hub's two parquet files, or an export of rooms. Source: arXiv:2406.16860;
huggingface.co/datasets/nyu-visionx/CV-Bench (2,638 rows, configs 2D and 3D); VG-LLM / VEGA-3D
(spatial-reasoning) ``src/lmms_eval/tasks/cvbench`` (16 new tokens); lmms-eval 0.7.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores
from vega3d.evaluation.benchmarks._lettered import FIELDS, chance_among, prompt_of, read_rows, score_letters
from vega3d.evaluation.files import Folder, sentence
from vega3d.evaluation.metrics.choices import leading_letter
from vega3d.evaluation.metrics.means import Means, by_group, mean
from vega3d.evaluation.records import Field, Record, is_texts, text, texts

FILES = ("test_2d.parquet", "test_3d.parquet")
ROOMS = "cvbench/test.jsonl"
REQUIRED = (sentence("question"), Field("choices", is_texts, "a list of texts"))


def read(folder: Folder) -> list[Sample]:
    """Questions of both files; of one alone if the other does not exist (the count shows it)."""
    samples = []
    for number, (record, media) in enumerate(read_rows(folder, FILES, ROOMS, ("image",), REQUIRED)):
        name = f"{record.get('type')}-{record.get('idx', number)}"
        scene = str(record.get("source_filename") or record.get("filename") or number)
        samples.append(Sample(name, record, media, scene, kind=str(record.get("task"))))
    return samples


def prompt(record: Record) -> str:
    """VG-LLM's text; its "frames of a video" stands there for single pictures, too."""
    lettered = zip("ABCDEF", texts(record, "choices"), strict=False)
    return prompt_of(text(record, "question"), [f"{letter}. {choice}" for letter, choice in lettered])


def score(samples: Sequence[object]) -> Scores:
    """Accuracy by source and by task, and the combined number."""
    return score_letters(samples, means_of, "combined_accuracy", lmms_letter, lmms_printed="combined")


def lmms_letter(record: Record) -> str:
    """The letter that lmms-eval reads."""
    return leading_letter(text(record, "prediction"))


def means_of(records: Sequence[Record], correct: Sequence[float]) -> Means:
    """Means by task and source, and the published mean of means; a source that a file lacks is left out."""
    by_source = by_group([text(record, "source") for record in records], correct)
    by_task = by_group([text(record, "task") for record in records], correct)
    flat, deep = mean(by_source.get(name) for name in ("ADE20K", "COCO")), by_source.get("Omni3D")
    combined = {"accuracy_2d": flat, "accuracy_3d": deep, "combined_accuracy": mean([flat, deep])}
    return by_task | by_source | combined


PROTOCOL = Protocol(
    name="cvbench",
    rules="fixed phrases deleted, then the first capital A-F anywhere; ((ADE20K + COCO)/2 + Omni3D)/2; "
    "lmms_eval_0_7_3: leading letter, micro average",
    sources=(
        "arXiv:2406.16860",
        "github.com/LaVi-Lab/VG-LLM src/lmms_eval/tasks/cvbench",
        "pypi.org/project/lmms-eval 0.7.3, tasks/cv_bench",
    ),
    fields=FIELDS,
    prompt=prompt,
    score=score,
    sample_score="correct",
)
BENCHMARK = Benchmark(
    name="cvbench",
    title="CV-Bench",
    protocols=(PROTOCOL,),
    read=read,
    official=2638,
    system="You are a helpful assistant.",
    layout=f"{FILES[0]} and {FILES[1]}, or {ROOMS} with its pictures",
    source="huggingface.co/datasets/nyu-visionx/CV-Bench; or `vega3d rooms export --layout pictures`",
    license="apache-2.0; pictures under the terms of ADE20K, COCO and Omni3D",
    truth="answer",
    constant_baseline=True,
    chance=chance_among("choices"),
)
