"""Every benchmark from disk to score: who knows the truth and says it as asked is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.golden import ONLY_SCORED, RUNNABLE
from tests.evaluation.run.fakes import Fake, read, samples_of
from vega3d.errors import ConfigError, InputError
from vega3d.evaluation import Sample, load_protocol
from vega3d.evaluation.media import Pictures, length, missing
from vega3d.evaluation.media import read as pixels
from vega3d.evaluation.metrics import captions
from vega3d.evaluation.metrics.java import Unavailable
from vega3d.evaluation.run import runner
from vega3d.evaluation.run.check import check
from vega3d.evaluation.run.model import EvalRequest
from vega3d.geometry.iou import angles_zxy

ASKED = (
    "blink_spatial",
    "cvbench",
    "motion",
    "multi3drefer/official",
    "scan2cap/leo",
    "scan2cap/official",
    "scan2cap/vega",
    "scanqa/leo",
    "scanqa/official",
    "scanqa/vega",
    "scanrefer/textbox",
    "scanrefer/textbox-refined",
    "sqa3d",
    "threedod",
    "vsibench",
    "vsibench/lmms-eval",
)


class Knows(Fake):
    """Says what it was told to say to a prompt."""

    def __init__(self, answers: dict[str, str]) -> None:
        super().__init__()
        self.answers = answers

    def answer(self, batch: Any) -> list[str]:
        self.asked.append(list(batch))
        return [self.answers[key(one)] for one in batch]


@pytest.fixture(autouse=True)
def without_meteor(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Java for METEOR, which takes seconds to start and is tested with the captions."""

    def unavailable(*_: Any) -> Any:
        raise Unavailable("not in this test")

    monkeypatch.setattr(captions, "meteor", unavailable)


def key(asked: EvalRequest) -> str:
    return f"{asked.media}\n{asked.prompt}"


def run(root: Path, name: str, out: Path, answer: Callable[[Sample], str]) -> tuple[Any, list[Any]]:
    protocol = load_protocol(name)
    samples = protocol.samples(root)
    answers = {key(EvalRequest(protocol.prompt(s.record), s.media)): answer(s) for s in samples}
    model: Any = Knows(answers)
    finished = runner.run(protocol, samples, model, out, {"model": "knows"})
    assert finished is not None
    return finished[0], read(out)


def in_camera(box: list[float], pose: Any) -> list[float]:
    """A room's axis-aligned box (6 numbers) as nine numbers in a camera; written here anew."""
    to_camera = np.linalg.inv(np.array(pose))
    centre = to_camera @ np.array([*box[:3], 1.0])
    return [*(float(v) for v in centre[:3]), *box[3:6], *(float(v) for v in angles_zxy(to_camera[:3, :3]))]


def lines(boxes: list[tuple[str, list[float]]]) -> str:
    """A list as VG-LLM's models write it."""
    written = ",\n".join(json.dumps({"label": label, "bbox_3d": box}) for label, box in boxes)
    return f"```json\n[\n{written}\n]\n```" if boxes else "[]"


def truth(question: Sample) -> str:
    record: Any = question.record
    if "cam2global" in record and "gt_bbox" in record:
        pose = np.array(record["axis_align_matrix"]) @ np.array(record["cam2global"][1])
        return json.dumps({"frame": 1, "bbox_3d": in_camera(record["gt_bbox"], pose)})
    if "gt_boxes" in record:
        return lines([("thing", in_camera(box, record["camera"])) for box in record["gt_boxes"]])
    if "boxes" in record:
        return lines([(box["label"], box["bbox_3d"]) for box in record["boxes"]])
    if "annotations" in record:
        return str(record["annotations"][0])
    if "answers" in record:
        return str(record["answers"][0])
    return str(record.get("gt_response") or record.get("answer") or record.get("ground_truth"))


@pytest.mark.parametrize("name", ASKED)
def test_who_knows_the_truth_is_right_about_rooms(every_benchmark: Path, tmp_path: Path, name: str) -> None:
    result, rows = run(every_benchmark, name, tmp_path, truth)
    assert result["count"]["errors"] == 0
    assert len(rows) == result["count"]["found"] > 0
    scores = [row["score"] for row in rows]
    if name == "scanrefer/textbox-refined":  # a proposal replaces the box: as right as the proposals are
        assert np.mean(scores) > 0.7
    elif name.startswith("scan2cap"):  # nothing counts where no proposal was good enough
        gates = [q.record["iou"] for q in samples_of(name, every_benchmark)]
        assert all((score > 0.99) == (iou > 0.5) for score, iou in zip(scores, gates, strict=True))
    else:
        assert scores == pytest.approx([1.0] * len(rows))


@pytest.mark.parametrize("name", [n for n in ASKED if not n.startswith("scanqa")])
def test_who_says_nothing_of_use_gets_no_score(every_benchmark: Path, tmp_path: Path, name: str) -> None:
    result, rows = run(every_benchmark, name, tmp_path, lambda question: "?!")
    assert all(row["score"] in (0.0, None) or name.startswith("scan2cap") for row in rows)
    assert result["count"]["errors"] == 0


@pytest.mark.parametrize("name", ["cvbench", "blink_spatial", "vsibench"])
def test_chance_is_below_what_the_best_constant_answer_reaches(
    every_benchmark: Path, tmp_path: Path, name: str
) -> None:
    result, _ = run(every_benchmark, name, tmp_path, truth)
    known = [kind for kind in result["blind"].values() if kind["chance"] is not None]
    assert known
    assert all(kind["constant"] >= kind["chance"] - 1e-9 for kind in known)
    assert set(result["blind"]) == set(result["kinds"])


@pytest.mark.parametrize("benchmark", RUNNABLE)
def test_an_export_of_rooms_is_a_complete_folder(every_benchmark: Path, benchmark: str) -> None:
    found = check(benchmark, every_benchmark)
    assert (found["problem"], found["missing_clips"]) == (None, [])
    assert found["ready"]
    assert found["questions"] > 0


def test_frames_of_a_scan_are_pictures_of_one_clip_without_its_depth(every_benchmark: Path) -> None:
    question = samples_of("scanqa/vega", every_benchmark)[0]
    assert isinstance(question.media, Pictures)
    assert question.media.clip
    assert length(question.media) == 5
    assert all(place.endswith(".jpg") for place in question.media.places)
    assert not missing(question.media)


@pytest.mark.parametrize("name", ONLY_SCORED)
def test_a_protocol_that_words_cannot_answer_is_refused_with_its_reason(name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be asked of a model that writes text"):
        load_protocol(name).samples(Path())


def test_an_answer_without_boxes_is_not_taken_for_nothing_there(
    every_benchmark: Path, tmp_path: Path
) -> None:
    _, rows = run(every_benchmark, "multi3drefer/official", tmp_path, lambda question: "there is none")
    nothing = [row for row in rows if row["kind"].startswith("zt")]
    assert nothing
    assert {row["score"] for row in nothing} == {0.0}


def test_two_sets_of_records_of_one_task_are_refused(every_benchmark: Path, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation" / "threedod"
    folder.mkdir(parents=True)
    for frames in (4, 6):
        (folder / f"scannet_{frames}frames_val.json").write_text("[]", encoding="utf-8")
    with pytest.raises(InputError, match="several sets of threedod"):
        samples_of("threedod", tmp_path)


@pytest.mark.parametrize(
    ("name", "source", "columns"),
    [
        ("cvbench", "cvbench/test.jsonl", ["image"]),
        ("blink_spatial", "blink/val.jsonl", ["image_1", "image_2"]),
    ],
)
def test_pictures_inside_the_hubs_parquet_files_are_the_pictures_beside_json_lines(
    every_benchmark: Path, tmp_path: Path, name: str, source: str, columns: list[str]
) -> None:
    write_as_hub(every_benchmark / source, tmp_path, name, columns)
    ours, theirs = (samples_of(name, root) for root in (every_benchmark, tmp_path))
    by_question = {q.record["prompt"] + q.scene: q for q in ours}
    assert len(theirs) == len(ours)
    for question in theirs:
        other = by_question[question.record["prompt"] + question.scene]
        assert question.record["answer"] == other.record["answer"]
        places = range(length(question.media))
        assert length(other.media) == len(places)
        for one, two in zip(pixels(question.media, places), pixels(other.media, places), strict=True):
            assert np.array_equal(one.numpy(), two.numpy())


def write_as_hub(source: Path, root: Path, name: str, columns: list[str]) -> None:
    """Rows as parquet with their pictures inside, in the files that the hub has, written by `datasets`."""
    import datasets

    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        file = f"test_{row['type'].lower()}.parquet" if name == "cvbench" else ""
        file = file or f"{row['sub_task']}/val-00000-of-00001.parquet"
        whole = {c: {"bytes": (source.parent / row[c]).read_bytes()} if row.get(c) else None for c in columns}
        groups.setdefault(file, []).append({**row, **whole})
    for file, group in groups.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        made = datasets.Dataset.from_list(group)
        for column in columns:
            made = made.cast_column(column, datasets.Image())
        made.to_parquet(root / file)
