"""A data set names no file outside its folder, and a row that cannot be asked is named with file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from tests.evaluation.golden import RUNNABLE
from tests.evaluation.run.fakes import Fake, samples_of, write_benchmark
from tests.evaluation.run.test_runner import SETTINGS
from tests.media import write_video
from vega3d.cli.main import main
from vega3d.errors import ConfigError, InputError, Vega3DError
from vega3d.evaluation import load_protocol
from vega3d.evaluation.hub import unpacked
from vega3d.evaluation.run import runner
from vega3d.evaluation.run.check import check

# benchmark, file of questions in the folder of every benchmark
QUESTIONS = {
    "vsibench": "test.jsonl",
    "scanqa": "benchmark/scanqa/ScanQA_v1.0_val.json",
    "sqa3d": "benchmark/sqa_task/balanced/v1_balanced_questions_val_scannetv2.json",
    "multi3drefer": "benchmark/multi3drefer/multi3drefer_val.json",
    "scanrefer": "evaluation/scanrefer",
    "scan2cap": "evaluation/scan2cap",
    "threedod": "evaluation/threedod",
    "cvbench": "cvbench/test.jsonl",
    "motion": "motion.jsonl",
    "blink_spatial": "blink/val.jsonl",
}
FIELDS = {"vsibench": "scene_name", "motion": "scene_name", "cvbench": "image"} | dict.fromkeys(
    ("scanrefer", "scan2cap", "threedod"), "images"
)
FIELDS["blink_spatial"] = "image_1"


def copied(root: Path, target: Path) -> Path:
    """The folder of every benchmark with files of questions of its own and links to its media."""
    for file in root.rglob("*"):
        place = target / file.relative_to(root)
        if file.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.hardlink_to(file)
    return target


def changed(root: Path, benchmark: str, **fields: Any) -> Path:
    """The second row of a benchmark's file with other values; returns the file."""
    file = root / QUESTIONS[benchmark]
    file = next(iter(sorted(file.glob("*val*.json")))) if file.is_dir() else file
    text = file.read_text(encoding="utf-8")
    is_lines = file.suffix == ".jsonl"
    content: Any = [json.loads(line) for line in text.splitlines()] if is_lines else json.loads(text)
    rows = content if isinstance(content, list) else next(v for v in content.values() if isinstance(v, list))
    rows[1] |= fields
    file.unlink()  # it is a hard link to the shared folder
    written = "".join(json.dumps(row) + "\n" for row in rows) if is_lines else json.dumps(content)
    file.write_text(written, encoding="utf-8")
    return file


@pytest.fixture
def data(every_benchmark: Path, tmp_path: Path) -> Path:
    return copied(every_benchmark, tmp_path / "data")


def test_every_benchmark_is_attacked() -> None:
    assert set(QUESTIONS) == set(RUNNABLE)


@pytest.mark.parametrize("name", ["../../secret/private", "/etc/passwd", "../data/../secret/private"])
@pytest.mark.parametrize("benchmark", RUNNABLE)
def test_a_record_that_names_a_file_outside_the_folder_is_refused(
    data: Path, benchmark: str, name: str
) -> None:
    (data.parent / "secret").mkdir()
    write_video(data.parent / "secret" / "private.mp4")
    field = FIELDS.get(benchmark, "scene_id")
    changed(data, benchmark, **{field: [name] if field == "images" else name})
    for follow_links in (False, True):
        with pytest.raises(InputError):
            samples_of(benchmark, data, follow_links=follow_links)
    found = check(benchmark, data)
    assert not found["ready"]
    assert found["problem"]


def test_a_strangers_video_stays_out_of_the_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").mkdir()
    write_video(tmp_path / "secret" / "private.mp4")
    changed(data, "vsibench", scene_name="../../secret/private")
    options = ["--data", str(data), "--out", str(tmp_path / "out"), "--quiet"]
    assert main(["eval", "run", "pico", "--tasks", "vsibench", *options]) == 1
    assert "test.jsonl, line 2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def planted(data: Path, benchmark: str) -> None:
    """A link inside the folder in the place of one medium of a benchmark."""
    media = samples_of(benchmark, data)[0].media
    places = [media] if isinstance(media, Path) else [Path(place) for place in media.places]
    secret = data.parent / "secret" / places[0].name
    secret.parent.mkdir()
    places[0].rename(secret)
    places[0].symlink_to(secret)


@pytest.mark.parametrize("benchmark", RUNNABLE)
def test_a_link_out_of_the_folder_is_refused_unless_links_are_followed(data: Path, benchmark: str) -> None:
    planted(data, benchmark)
    with pytest.raises(InputError, match=r"a link leads to .*secret"):
        samples_of(benchmark, data)
    assert not check(benchmark, data)["ready"]
    assert samples_of(benchmark, data, follow_links=True)
    assert check(benchmark, data, follow_links=True)["ready"]


def test_a_link_inside_a_folder_of_frames_is_refused(tmp_path: Path) -> None:
    row = {"scene_id": "s", "question_id": "1", "question": "What color?", "answers": ["brown"]}
    frames = tmp_path / "data" / "scannet" / "s"
    frames.mkdir(parents=True)
    (tmp_path / "data" / "ScanQA_v1.0_val.json").write_text(json.dumps([row]), encoding="utf-8")
    (frames / "0.jpg").touch()
    assert samples_of("scanqa/leo", tmp_path / "data")
    (tmp_path / "secret.jpg").touch()
    (frames / "1.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(InputError, match="a link leads to"):
        samples_of("scanqa/leo", tmp_path / "data")


@pytest.mark.parametrize("benchmark", RUNNABLE)
def test_media_may_lie_on_another_disk(data: Path, benchmark: str) -> None:
    before = check(benchmark, data)
    for folder in ("rooms", "scannet", "cvbench", "blink", "twins"):
        (data / folder).rename(data.parent / folder)
        (data / folder).symlink_to(data.parent / folder)
    assert check(benchmark, data) == before
    assert before["ready"]


def test_what_the_hub_unpacked_is_read_through_its_links(
    every_benchmark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    cache = tmp_path / "datasets--a--b"
    snapshot, blobs = cache / "snapshots" / "1", cache / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in every_benchmark.rglob("*") if file.is_file())):
        place = snapshot / file.relative_to(every_benchmark)
        place.parent.mkdir(parents=True, exist_ok=True)
        (blobs / f"{number:x}").hardlink_to(file)
        place.symlink_to(Path("../" * len(place.relative_to(cache).parent.parts)) / "blobs" / f"{number:x}")
    for benchmark in RUNNABLE:
        assert check(benchmark, snapshot)["ready"], benchmark
    with zipfile.ZipFile(snapshot / "more.zip", "w") as opened:
        opened.writestr("more/a.txt", "a")
    for benchmark in RUNNABLE:
        assert check(benchmark, unpacked(snapshot, "a/b"))["ready"], benchmark


@pytest.mark.parametrize("value", [None, 5, "", ["a"], {"a": 1}])
@pytest.mark.parametrize(
    "benchmark", ["vsibench", "scanqa", "sqa3d", "cvbench", "multi3drefer", "blink_spatial"]
)
def test_a_question_that_is_no_text_is_named_with_its_line(data: Path, benchmark: str, value: object) -> None:
    field = {"multi3drefer": "description", "blink_spatial": "prompt"}.get(benchmark, "question")
    file = changed(data, benchmark, **{field: value})
    place = "line 2" if file.suffix == ".jsonl" else "row 2"
    with pytest.raises(InputError, match=rf"{file.name}, {place}: '{field}'"):
        samples_of(benchmark, data)


WRONG: dict[str, list[tuple[str, Any]]] = {
    "vsibench": [("dataset", None), ("scene_name", ["a"]), ("scene_name", "."), ("options", "A. yes"),
                 ("options", [1]), ("question_type", 3), ("scene_name", "a\0b"), ("dataset", "\ud800")],
    "scanqa": [("scene_id", {}), ("question_id", []), ("scene_id", "")],
    "sqa3d": [("scene_id", []), ("question_id", []), ("question_id", None), ("situation", None)],
    "multi3drefer": [("scene_id", []), ("object_ids", 5), ("object_ids", None)],
    "threedod": [("images", None), ("images", []), ("images", [None]), ("images", "a.jpg"), ("prompt", 5)],
    "scan2cap": [("images", {}), ("prompt", None)],
    "scanrefer": [("images", [[]]), ("prompt", {})],
    "cvbench": [("image", 5), ("image", None), ("choices", "yes"), ("choices", None)],
    "blink_spatial": [("image_1", []), ("image_1", None)],
}  # fmt: skip


@pytest.mark.parametrize(("benchmark", "field", "value"), [(s, *wrong) for s in WRONG for wrong in WRONG[s]])
def test_a_value_of_a_wrong_type_is_named_with_its_line(
    data: Path, benchmark: str, field: str, value: object
) -> None:
    file = changed(data, benchmark, **{field: value})
    with pytest.raises(InputError, match=rf"{file.name}, (line|row) 2: '{field}'"):
        samples_of(benchmark, data)


@pytest.mark.parametrize(
    ("benchmark", "field"), [("vsibench", "id"), ("scanqa", "question_id"), ("sqa3d", "question_id")]
)
def test_two_rows_of_one_id_are_named_with_both_lines(data: Path, benchmark: str, field: str) -> None:
    first = samples_of(benchmark, data)[0].record[field]
    changed(data, benchmark, **{field: first})
    with pytest.raises(ConfigError, match=r"(?s)one id.*(line|row) 1 and (line|row) 2"):
        samples_of(benchmark, data)


HOSTILE = {
    "deep list": "[" * 100_000,
    "deep object": '{"a":' * 100_000,
    "deep row": '[{"question": ' + "[" * 100_000 + "]" * 100_000 + "}]",
    "no JSON": "{",
    "number": "1",
    "text": '"a"',
    "null": "null",
    "rows of numbers": "[1, 2]",
    "object of lists": '{"a": [1]}',
    "row of another kind": '[{"x": 1}]',
    "long number": '[{"question_id": ' + "1" * 5000 + "}]",
    "no UTF-8": "\xff\xfe",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("benchmark", RUNNABLE)
def test_hostile_json_is_a_typed_error_in_every_file_that_a_benchmark_reads(
    data: Path, benchmark: str, content: str
) -> None:
    questions = data / QUESTIONS[benchmark]
    places = [questions] if questions.is_file() else sorted(questions.glob("*val*.json"))
    if benchmark == "sqa3d":
        places.append(questions.with_name("v1_balanced_sqa_annotations_val_scannetv2.json"))
    if benchmark == "multi3drefer":
        places.append(data / "metadata" / "scannet_val_gt_box.json")
    for file in places:
        before = file.read_bytes()
        file.unlink()
        file.write_text(content, encoding="latin-1")
        with pytest.raises(Vega3DError, match=file.name.replace(".", r"\.")):
            samples_of(benchmark, data)
        file.unlink()
        file.write_bytes(before)
    assert samples_of(benchmark, data)


def test_a_line_break_of_unicode_inside_a_question_ends_no_row(tmp_path: Path) -> None:
    data = write_benchmark(tmp_path / "data")
    file = data / "test.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    rows[0]["question"] = "how\u2028many\x85chairs?"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    file.write_text(lines, encoding="utf-8")
    protocol = load_protocol("vsibench")
    questions = protocol.samples(data)
    model: Any = Fake()
    runner.run(protocol, questions, model, tmp_path / "run", SETTINGS)
    assert len(questions) == 12


def test_a_parquet_file_that_is_none_is_a_typed_error(tmp_path: Path) -> None:
    for benchmark, name in (("vsibench", "test-00000-of-00001.parquet"), ("cvbench", "test_2d.parquet")):
        (tmp_path / name).write_bytes(b"PAR1 noise PAR1")
        with pytest.raises(InputError, match=name):
            samples_of(benchmark, tmp_path)
