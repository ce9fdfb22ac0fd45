"""BLINK's three spatial sub-tasks: multi-view reasoning, relative depth, spatial relation.

VG-LLM's reading of a letter and its unweighted mean of the three; lmms-eval 0.7.3, which has the sub-tasks
but no such group, reads differently and stands in a block of its own. A sub-task that a file lacks is left
out. Pictures are sent as they are; VG-LLM cuts pictures of differing sizes to squares, which loses their rims
and is not repeated.

Files are the hub's parquet files, or an export of rooms. Source: arXiv:2404.12390; huggingface.co/datasets/
BLINK-Benchmark/BLINK, split val; VG-LLM / VEGA-3D (spatial-reasoning) ``src/lmms_eval/tasks/blink`` (16 new
tokens); lmms-eval 0.7.3.
"""

from __future__ import annotations

from collections.abc import Sequence

from vega3d.evaluation.benchmark import Benchmark, Protocol, Sample, Scores
from vega3d.evaluation.benchmarks._lettered import ASK, FIELDS, chance_among, read_rows, score_letters
from vega3d.evaluation.files import Folder, sentence
from vega3d.evaluation.metrics.choices import stated_letter
from vega3d.evaluation.metrics.means import Means, by_group, mean
from vega3d.evaluation.records import Record, text

SUB_TASKS = ("Multi-view_Reasoning", "Relative_Depth", "Spatial_Relation")
FILES = tuple(f"{name}/val-00000-of-00001.parquet" for name in SUB_TASKS)
ROOMS = "blink/val.jsonl"
COLUMNS = ("image_1", "image_2", "image_3", "image_4")
REQUIRED = (sentence("prompt"),)


def read(folder: Folder) -> list[Sample]:
    """Questions of the sub-tasks that exist (the count shows if one is missing)."""
    samples = []
    for number, (record, media) in enumerate(read_rows(folder, FILES, ROOMS, COLUMNS, REQUIRED)):
        name = str(record.get("idx", number))
        scene = str(record.get("scene_name") or name)
        samples.append(Sample(name, record, media, scene, kind=str(record.get("sub_task"))))
    return samples


def prompt(record: Record) -> str:
    """VG-LLM's text."""
    return f"{text(record, 'prompt')}\n{ASK}"


def score(samples: Sequence[object]) -> Scores:
    """Accuracy by sub-task and their mean."""
    return score_letters(samples, means_of, "blink_spatial", lmms_letter)


def means_of(records: Sequence[Record], correct: Sequence[float]) -> Means:
    """Means by sub-task, and the unweighted mean of the three."""
    means = by_group([text(record, "sub_task") for record in records], correct)
    return means | {"blink_spatial": mean(means.get(name) for name in SUB_TASKS)}


def lmms_letter(record: Record) -> str:
    """The letter that lmms-eval reads, one of the choices (four where a record lists none)."""
    choices = record.get("choices")
    count = len(choices) if isinstance(choices, list | tuple) and choices else 4
    return stated_letter(text(record, "prediction"), count)


PROTOCOL = Protocol(
    name="blink_spatial",
    rules="letters as in cvbench; unweighted mean of the three sub-tasks; lmms_eval_0_7_3: stated or "
    "leading letter among the choices, micro average",
    sources=(
        "arXiv:2404.12390",
        "github.com/LaVi-Lab/VG-LLM src/lmms_eval/tasks/blink",
        "pypi.org/project/lmms-eval 0.7.3, tasks/blink",
    ),
    fields=FIELDS,
    prompt=prompt,
    score=score,
    sample_score="correct",
)
BENCHMARK = Benchmark(
    name="blink_spatial",
    title="BLINK (spatial)",
    protocols=(PROTOCOL,),
    read=read,
    official=400,
    layout=f"<sub-task>/val-00000-of-00001.parquet of {', '.join(SUB_TASKS)}, or {ROOMS} with its pictures",
    source="huggingface.co/datasets/BLINK-Benchmark/BLINK; or `vega3d rooms export --layout pictures`",
    license="apache-2.0; pictures under the terms of their sources",
    truth="answer",
    constant_baseline=True,
    chance=chance_among("choices"),
)
