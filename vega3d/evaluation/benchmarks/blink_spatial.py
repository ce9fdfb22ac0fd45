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

from vega3d.evaluation.benchmark import Benchmark, Metric, Protocol, Sample, Scores, metrics
from vega3d.evaluation.benchmarks._lettered import FIELDS, chance, lmms_eval_block, read_rows, scores_of
from vega3d.evaluation.files import Folder, sentence
from vega3d.evaluation.metrics.choices import first_capital, stated_letter
from vega3d.evaluation.metrics.means import by_group, mean
from vega3d.evaluation.records import Record, mappings, text

SUB_TASKS = ("Multi-view_Reasoning", "Relative_Depth", "Spatial_Relation")
FILES = tuple(f"{name}/val-00000-of-00001.parquet" for name in SUB_TASKS)
ROOMS = "blink/val.jsonl"
COLUMNS = ("image_1", "image_2", "image_3", "image_4")
REQUIRED = (sentence("prompt"),)


def read(folder: Folder) -> list[Sample]:
    """Questions of the sub-tasks that exist (the count shows if one is missing)."""
    return [
        Sample(
            id=str(record.get("idx", number)),
            record=record,
            media=media,
            scene=str(record.get("scene_name") or record.get("idx", number)),
            kind=str(record.get("sub_task")),
        )
        for number, (record, media) in enumerate(read_rows(folder, FILES, ROOMS, COLUMNS, REQUIRED))
    ]


def prompt(record: Record) -> str:
    """VG-LLM's text."""
    return f"{text(record, 'prompt')}\nAnswer with the option's letter from the given choices directly."


def score(samples: Sequence[object]) -> Scores:
    """Accuracy by sub-task and their mean."""
    records = mappings(samples)
    rows, correct = scores_of(records, [first_capital(text(record, "prediction")) for record in records])
    means = by_group([text(record, "sub_task") for record in records], correct)
    means["blink_spatial"] = mean([means.get(name) for name in SUB_TASKS])
    letters = [stated_letter(text(record, "prediction"), _choices(record)) for record in records]
    block, _ = lmms_eval_block(records, letters)
    return Scores(
        rows,
        {"aggregate_fraction": means, "lmms_eval_0_7_3": block},
        metrics=[
            *metrics("aggregate_fraction", means, ["blink_spatial"]),
            Metric("lmms_eval_0_7_3 micro_accuracy", block["micro_accuracy"]),
        ],
    )


def _choices(record: Record) -> int:
    choices = record.get("choices")
    return len(choices) if isinstance(choices, list | tuple) and choices else 4


PROTOCOL = Protocol(
    name="blink_spatial",
    rules=(
        "letters as in cvbench; unweighted mean of the three sub-tasks; lmms_eval_0_7_3: stated or "
        "leading letter among the choices, micro average"
    ),
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
    chance=chance,
)
