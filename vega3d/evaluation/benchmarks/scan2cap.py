"""Scan2Cap: describe the object at a place; caption metrics that count only where a box was found.

Four ways to gate and to wrap a caption, three tasks. ``vega``: kept at IoU >= 0.5, else the empty text; lower
case. ``leo``: kept at IoU >= 0.5, else "sos eos"; case kept, references from ScanRefer's tokens.
``official``: (a) ``paper``, kept at IoU > k, corpus scores; (b) ``benchmark2022_recall``, all captions
scored, then masked by IoU >= k. (a) and (b) differ by several CIDEr points on the same captions.

"sos" and "eos" are tokens like others, so an empty caption still earns ROUGE-L of about 0.2 and METEOR of
about 0.1. A record without a usable IoU counts as not found; VEGA-3D's records have ``box_input`` (null: not
found) and ``gt_box`` in its place.

Asked by text in VG-LLM's form (16 frames, 100 new tokens): the object at a point in the first frame's camera
coordinates, the centre of the best proposal. VEGA-3D's form has a token `<coord>` for the point, which a host
without that token cannot read. Source: H-EmbodVis/VEGA-3D (main) ``llava/eval/eval_scan2cap.py``;
embodied-generalist ``evaluator/cap_eval.py``; daveredrum/Scan2Cap ``lib/eval_helper.py`` and
``benchmark/eval.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from vega3d.evaluation.benchmark import Benchmark, Protocol, Scores, metrics
from vega3d.evaluation.benchmarks._scannet import vgllm
from vega3d.evaluation.boxes import aligned_overlap, box
from vega3d.evaluation.files import sentence
from vega3d.evaluation.media import MediaFormat
from vega3d.evaluation.metrics.captions import METRICS, CorpusScores, score_corpus
from vega3d.evaluation.metrics.means import Means, mean, percents
from vega3d.evaluation.records import Field, Record, add_ids, is_text, is_texts, mappings, number, text, texts

GATE = 0.5
LONGEST = 30  # tokens of a reference in the form `paper`
NOTHING = "sos eos"
PRINTED = ("CIDEr", "BLEU-4", "METEOR", "ROUGE-L")


def overlap(record: Record) -> float:
    """The IoU of the described box: ``iou``, or that of ``box_input`` with ``gt_box``; 0 without either."""
    if "iou" in record:
        return number(record["iou"]) or 0.0
    return aligned_overlap(box(record.get("box_input")), box(record.get("gt_box")))


def is_gate(value: object) -> bool:
    """An IoU, a box of six numbers, or null for a box that was not found."""
    return value is None or number(value) is not None or box(value) is not None


def wrapped(caption: str) -> str:
    """A caption between its marks, dots and commas as tokens, in lower case (VEGA-3D, VG-LLM)."""
    return "sos " + caption.replace(".", " . ").replace(",", " , ").lower() + " eos"


def wrapped_leo(caption: str) -> str:
    """A caption between its marks, only dots before a blank as tokens, case kept (LEO)."""
    return f"sos {caption} eos".replace(". ", " . ")


def wrapped_tokens(caption: str, most: int | None = None) -> str:
    """The first ``most`` tokens of a caption between its marks, ASCII only (Scan2Cap)."""
    ascii_only = re.sub(r"[^\x00-\x7f]", " ", caption.replace(".", " . ").replace(",", " , ").lower())
    return f"sos {' '.join(ascii_only.split()[:most])} eos"


def score_vega(samples: Sequence[object]) -> Scores:
    """VEGA-3D, Video-3D-LLM and VG-LLM."""
    records = mappings(samples)
    captions = [text(r, "prediction").strip() if overlap(r) >= GATE else "" for r in records]
    rows = [{"gated_prediction": caption, "wrapped_prediction": wrapped(caption)} for caption in captions]
    references = [[wrapped(caption) for caption in texts(record, "annotations")] for record in records]
    return _scores(records, references, rows)


def score_leo(samples: Sequence[object]) -> Scores:
    """LEO; references are ``reference_corpus``, or wrapped annotations."""
    records = mappings(samples)
    candidates = [wrapped_leo(text(r, "prediction")) if overlap(r) >= GATE else NOTHING for r in records]
    rows = [{"wrapped_prediction": candidate} for candidate in candidates]
    return _scores(records, _references(records, "reference_corpus", wrapped_leo), rows)


def score_official(samples: Sequence[object]) -> Scores:
    """Both official forms, at IoU 0.25 and 0.5."""
    records = mappings(samples)
    ious = [overlap(record) for record in records]
    candidates = [text(r, "candidate") or wrapped_tokens(text(r, "prediction")) for r in records]
    full = _references(records, "reference_corpus_full", wrapped_tokens)
    short = _references(records, "reference_corpus_30", partial(wrapped_tokens, most=LONGEST))
    ungated = score_corpus(full, candidates)
    columns = {"ungated": ungated}
    for k in (0.25, 0.5):
        kept = [c if iou > k else NOTHING for c, iou in zip(candidates, ious, strict=True)]
        columns[f"paper@{k}"] = score_corpus(short, kept)
    rows = [{name: scores.per_sample[n] for name, scores in columns.items()} for n in range(len(records))]
    paper = {f"@{k}": percents(columns[f"paper@{k}"].corpus) for k in (0.25, 0.5)}
    recall = {f"@{k}": _recall(ungated, [iou >= k for iou in ious]) for k in (0.25, 0.5)}
    tables = {"aggregate_percent": {"paper": paper, "benchmark2022_recall": recall}}
    printed = metrics("aggregate_percent paper @0.5", paper["@0.5"], ("CIDEr", "BLEU-4"), 100)
    printed += metrics("aggregate_percent benchmark2022_recall @0.5", recall["@0.5"], ("CIDEr",), 100)
    return Scores(add_ids(records, rows), tables, ungated.unavailable, printed)


def gated(scored: Record) -> float | None:
    """ROUGE-L of the paper's form at IoU 0.5."""
    score = scored["paper@0.5"]["rouge_l"]
    return None if score is None else float(score)


def _scores(records: Sequence[Record], references: list[list[str]], rows: list[dict[str, Any]]) -> Scores:
    """Corpus scores of the wrapped captions in the rows."""
    corpus = score_corpus(references, [row["wrapped_prediction"] for row in rows])
    return corpus.scores(add_ids(records, rows), PRINTED)


def _references(records: Sequence[Record], name: str, wrap: Callable[[str], str]) -> list[list[str]]:
    """The references that a file brings ready-made, else the wrapped annotations."""
    return [texts(r, name) or [wrap(caption) for caption in texts(r, "annotations")] for r in records]


def _recall(scores: CorpusScores, hits: Sequence[bool]) -> Means:
    """The mean over all objects of the scores of those that were found, in percent."""
    means: Means = {}
    for name, short in METRICS.items():
        each = [row[short] for row in scores.per_sample]
        masked = [None if score is None else score * hit for score, hit in zip(each, hits, strict=True)]
        means[name] = mean(masked)
    return percents(means)


CORPORA = ("reference_corpus", "reference_corpus_full")  # references that are wrapped already
VEGA = Protocol(
    name="scan2cap/vega",
    rules="kept at IoU >= 0.5, else the empty text; 'sos ... eos', dots and commas spaced, lower case; "
    "whitespace tokens",
    sources=("github.com/H-EmbodVis/VEGA-3D main, llava/eval/eval_scan2cap.py",),
    fields=(
        Field("prediction", is_text, "the caption", ("candidate",)),
        Field("annotations", is_texts, "the descriptions of people", CORPORA),
        Field("iou", is_gate, "overlap of the described box with the true one", ("box_input",)),
    ),
    prompt=lambda record: text(record, "prompt"),  # it names the point
    score=score_vega,
    sample_score="rouge_l",
)
LEO = replace(
    VEGA,
    name="scan2cap/leo",
    rules="kept at IoU >= 0.5, else 'sos eos'; case kept, '. ' spaced; references from ScanRefer's tokens",
    sources=("github.com/embodied-generalist/embodied-generalist evaluator/cap_eval.py",),
    score=score_leo,
)
OFFICIAL = replace(
    VEGA,
    name="scan2cap/official",
    rules="m@kIoU; paper: kept at IoU > k, else 'sos eos', corpus scores; benchmark2022_recall: scores of "
    "all captions, those with IoU >= k summed over the number of objects",
    sources=("github.com/daveredrum/Scan2Cap lib/eval_helper.py and benchmark/eval.py",),
    score=score_official,
    sample_score=gated,
)
BENCHMARK = Benchmark(
    name="scan2cap",
    title="Scan2Cap",
    protocols=(VEGA, LEO, OFFICIAL),
    media=MediaFormat(all_frames=True),
    official=2068,
    max_new_tokens=100,
    truth="annotations",
    **vgllm("scan2cap", required=(sentence("prompt"),)),
)
