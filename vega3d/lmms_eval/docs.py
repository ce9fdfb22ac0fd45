"""The five 3-D benchmarks that lmms-eval lacks, as the functions that a task's YAML names.

Decision: a task of lmms-eval is here a *protocol* of ours. Its documents are the questions that `vega3d eval
run` asks, read from the folder in the environment variable ``VEGA3D_EVAL_DATA``; its scores are those of
`vega3d.evaluation.score`, over all answers at once, under the names that `eval run` prints. So nothing is
scored twice by two codes, and a YAML holds no rule. Which protocol a YAML is stands in the one line of data
beside it, since lmms-eval hands its functions documents and nothing else.

A record travels as JSON text: records differ in their fields, and lmms-eval keeps documents in a table.
This module depends on no model. `read_docs` needs `datasets`, which lmms-eval brings.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from vega3d.errors import ConfigError
from vega3d.evaluation.benchmark import Protocol, Sample
from vega3d.evaluation.benchmarks import load_protocol
from vega3d.evaluation.hub import folder_of
from vega3d.evaluation.media import Media, MediaFormat, Pictures, sampled
from vega3d.evaluation.metrics.means import mean
from vega3d.lmms_eval.messages import CLIP, SAMPLED
from vega3d.media.decoding import pictures_of
from vega3d.media.image import formats

DATA = "VEGA3D_EVAL_DATA"
SCORE = "score"
Doc = Mapping[str, Any]


def read_docs(stub: Sequence[Mapping[str, Any]]) -> Any:
    """The documents of a task, in place of the one line that lmms-eval has loaded.

    Args:
        stub: one row that names the protocol under ``protocol``.

    Raises:
        ConfigError: ``VEGA3D_EVAL_DATA`` is not set.
        InputError: the folder does not hold the benchmark.
    """
    from datasets import Dataset

    if not (named := os.environ.get(DATA)):
        what, expected = f"Missing environment variable {DATA}.", "the folder that `eval run --data` takes"
        raise ConfigError(what, got=f"no {DATA}", expected=expected, fix=f"export {DATA}=FOLDER")
    return Dataset.from_list(docs_of(stub[0]["protocol"], folder_of(named)))


def docs_of(name: str, root: Path) -> list[dict[str, Any]]:
    """The questions of a protocol as documents: plain values, the record as JSON text."""
    protocol = load_protocol(name)
    return [_doc(protocol, sample) for sample in protocol.samples(root)]


def doc_to_text(doc: Doc) -> str:
    """The text of the question, as published."""
    return str(doc["prompt"])


def doc_to_target(doc: Doc) -> str:
    """The true answer as JSON text."""
    return str(doc["target"])


def doc_to_visual(doc: Doc) -> list[Any]:
    """The simple form: the path of a video, or pictures in memory. Labels of pictures are lost in it."""
    from PIL import Image

    if not doc["pictures"]:
        return list(doc["media"])
    return [Image.open(place, formats=formats()) for place in doc["media"]]


def doc_to_messages(doc: Doc) -> list[dict[str, Any]]:
    """The chat form: system prompt, labelled frames, text; as `vega3d eval run` sends it."""
    content: list[dict[str, Any]] = []
    before, after = doc["label"].split("{image}")
    for number, path in enumerate(doc["media"]):
        texts = [{"type": "text", "text": text.replace("{n}", str(number))} for text in (before, after)]
        marks = {CLIP: CLIP, SAMPLED: doc["sampled"]}
        kind = {"type": "image", **marks} if doc["pictures"] else {"type": "video"}
        content += [part for part in (texts[0], {**kind, "url": path}, texts[1]) if part.get("text") != ""]
    content.append({"type": "text", "text": doc["prompt"]})
    system = {"role": "system", "content": [{"type": "text", "text": doc["system"]}]}
    return [*([system] if doc["system"] else []), {"role": "user", "content": content}]


def process_results(doc: Doc, results: Sequence[str]) -> dict[str, Any]:
    """One answer: its own score with its scene, and under each number of the protocol what that is made of.

    The score is 0..1 and lmms-eval takes standard errors of it, over scenes, too. The numbers of the protocol
    have other scales, and corpus metrics (CIDEr, BLEU) have no value for a single answer: `aggregate` makes
    them of all answers.
    """
    protocol = load_protocol(doc["protocol"])
    record = protocol.answered(json.loads(doc["record"]), results[0])
    value = protocol.score_of(protocol.score([record]).per_sample[0])
    scored = {"scene": doc["scene"], **({} if value is None else {SCORE: value})}
    answer = {"protocol": doc["protocol"], "record": json.dumps(record)}
    return {SCORE: scored} | {name: {"metric": name, **answer} for name in metrics_of(doc["protocol"])}


@cache
def metrics_of(protocol: str) -> tuple[str, ...]:
    """The numbers that a protocol prints, by the names of `vega3d eval run`."""
    return tuple(metric.name for metric in load_protocol(protocol).score([]).metrics)


def mean_score(results: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean of the answers' own scores: the micro mean of `vega3d eval run`."""
    return mean(result[SCORE] for result in results if SCORE in result)


def aggregate(results: Sequence[Mapping[str, Any]]) -> float | None:
    """A number of the protocol over all answers; None where it cannot be computed (METEOR without Java)."""
    headline = _headline(results[0]["protocol"], tuple(result["record"] for result in results))
    return headline[results[0]["metric"]]


@lru_cache(maxsize=2)
def _headline(protocol: str, records: tuple[str, ...]) -> dict[str, float | None]:
    return load_protocol(protocol).score([json.loads(record) for record in records]).headline


def _doc(protocol: Protocol, sample: Sample) -> dict[str, Any]:
    benchmark = protocol.benchmark
    places = _places(sample.media, benchmark.media)
    return {
        "protocol": protocol.name,
        "id": sample.id,
        "kind": sample.kind,
        "scene": sample.scene,
        "prompt": protocol.prompt(sample.record),
        "system": benchmark.system,
        "label": benchmark.media.label,
        "pictures": places != [str(sample.media)],
        "media": places,
        "sampled": not benchmark.media.all_frames,
        "target": json.dumps(sample.record.get(benchmark.truth)),
        "record": json.dumps(sample.record),
    }


def _places(media: Media, shown: MediaFormat) -> list[str]:
    """The file of a video; of pictures those that the protocol shows, since lmms-eval samples videos only."""
    if not isinstance(media, Pictures):
        if not media.is_dir():
            return [str(media)]
        media = Pictures(tuple(map(str, pictures_of(media))))
    numbers = range(len(media.places)) if shown.all_frames else sampled(media, shown.frames)
    return [media.places[number] for number in numbers]
