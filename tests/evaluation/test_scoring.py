"""From a file to scores: formats, wrong files, problems, names of protocols, and other people's tasks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.golden import FILES, PROTOCOLS, document, path
from vega3d.errors import ConfigError, InputError, WriteError
from vega3d.evaluation import load_protocol, protocol_names, score, score_file
from vega3d.evaluation.scoring import read_document, write_scores

SAMPLES = [
    {"id": 1, "question_type": "object_counting", "ground_truth": "4", "prediction": "4"},
    {"id": 2, "question_type": "route_planning", "ground_truth": "B", "prediction": "B. left"},
]


def write(file: Path, content: str) -> Path:
    file.write_text(content, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({"samples": SAMPLES, "made_by": "somebody"}),
        json.dumps(SAMPLES),
        "\n".join(json.dumps(sample) for sample in SAMPLES),
        "\n\n".join(json.dumps(sample) for sample in SAMPLES) + "\n",
        "\r\n".join(json.dumps(sample) for sample in SAMPLES),
        "\ufeff" + json.dumps(SAMPLES),
    ],
    ids=["document", "list", "lines", "lines with gaps", "lines of another system", "a mark in front"],
)
def test_a_file_may_be_a_document_a_list_or_lines(content: str, tmp_path: Path) -> None:
    result = score_file("vsibench", write(tmp_path / "file", content))
    assert [row["score"] for row in result["per_sample"]] == [1.0, 1.0]
    assert result["aggregate_x100"]["overall"] == 100.0


def test_one_line_is_one_sample(tmp_path: Path) -> None:
    file = write(tmp_path / "one.jsonl", json.dumps(SAMPLES[0]))
    assert read_document(file) == {"samples": [SAMPLES[0]]}


@pytest.mark.parametrize(
    "content", ["", "not json", '"text"', "12", "{'a': 1}", '{"samples": [}', "[" * 100_000]
)
def test_what_is_no_file_of_predictions_is_an_input_error(content: str, tmp_path: Path) -> None:
    file = write(tmp_path / "file.json", content)
    if content == "":
        assert read_document(file) == {"samples": []}
        return
    with pytest.raises(InputError, match="predictions"):
        score_file("vsibench", file)


@given(st.binary(max_size=200) | st.text().map(lambda text: text.encode("utf-8", "replace")))
@settings(max_examples=300)
def test_any_bytes_are_a_document_or_an_input_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "file"
        file.write_bytes(content)
        try:
            document_ = read_document(file)
        except InputError:
            return
    assert isinstance(document_["samples"], list)


def test_a_file_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read"):
        read_document(tmp_path / "nowhere.json")


def test_the_file_of_another_task_is_refused_and_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        score_file("multi3drefer/vega", path("vsibench"))
    assert "no sample has 'objects'" in str(error.value)
    assert "ground_truth" in str(error.value)


def test_records_with_problems_are_counted_and_scored() -> None:
    broken: list[Any] = [
        *SAMPLES,
        {"question_type": "route_planning"},
        "text",
        {**SAMPLES[0], "ground_truth": []},
    ]
    result = score("vsibench", broken)
    assert result["problems"] == {
        "ground_truth: missing": 1,
        "ground_truth: unusable": 1,
        "prediction: missing": 1,
        "record: not an object": 1,
    }
    assert [row["score"] for row in result["per_sample"]] == [1.0, 1.0, 0.0, None, 0.0]


def test_a_name_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'scanqa/leo'"):
        score("scanqa/leoo", [])


@pytest.mark.parametrize("file", FILES)
def test_every_output_names_its_protocol_and_its_source(file: str) -> None:
    task = load_protocol(FILES[file][0])
    result = score(task, document(file)["samples"][:3])
    assert (result["task"], result["protocol"]) == (task.name, task.rules)
    assert result["task_version"]
    assert result["sources"]


def test_no_two_protocols_share_a_name_or_their_rules() -> None:
    tasks = [load_protocol(name) for name in PROTOCOLS]
    assert [task.name for task in tasks] == PROTOCOLS
    assert len({task.rules for task in tasks}) == len(tasks)


def test_a_printed_number_says_its_scale_and_whose_rules_it_follows() -> None:
    cvbench = load_protocol("cvbench").score(document("cvbench")["samples"]).headline
    assert set(cvbench) == {"aggregate_fraction combined_accuracy", "lmms_eval_0_7_3 micro_accuracy"}
    assert set(load_protocol("vsibench").score([]).headline) == {"aggregate_x100 overall"}
    assert set(load_protocol("vsibench/lmms-eval").score([]).headline) == {"aggregate_fraction overall"}


def test_the_same_answers_score_differently_by_protocol() -> None:
    samples = document("vsibench")["samples"]
    official = score("vsibench", samples)["aggregate_fraction"]["overall"]
    other = score("vsibench/lmms-eval", samples)["aggregate_fraction"]["overall"]
    assert other > official + 0.1  # why they never share a column


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name != "motion"])  # see test_motion.py
def test_a_headline_is_in_the_output(name: str) -> None:
    task = load_protocol(name)
    file = next((f for f, (t, _) in FILES.items() if t == name), None)
    if file is None:  # variants: their samples are those of the protocol that they vary
        file = {"vsibench/d": "vsibench", "scanrefer/": "scanrefer__textbox"}[name[:10]]
    document_ = document(file)
    scores = task.score(document_["samples"], **{k: document_.get(k) for k in task.file_fields})
    numbers = scores.headline
    assert set(numbers) == set(task.score([]).headline)
    computed = {k: v for k, v in numbers.items() if k.split()[-1] not in scores.unavailable}
    assert all(value is not None for value in computed.values())


def test_scores_are_written_whole_and_read_back(tmp_path: Path) -> None:
    result = score("vsibench", SAMPLES)
    file = write_scores(result, tmp_path / "new" / "scores.json")
    assert json.loads(file.read_text(encoding="utf-8")) == json.loads(json.dumps(result))
    assert [p.name for p in file.parent.iterdir()] == ["scores.json"]


@pytest.mark.parametrize("place", ["", "file/scores.json"], ids=["a folder", "below a file"])
def test_a_place_that_cannot_be_written_to_is_an_input_error(place: str, tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(WriteError, match="Cannot write"):
        write_scores(score("vsibench", []), tmp_path / place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_scoring_does_not_change_the_samples() -> None:
    for file, (task, _) in FILES.items():
        before = json.dumps(document(file)["samples"])
        score(task, document(file)["samples"])
        assert json.dumps(document(file)["samples"]) == before


ENTRY_POINT = "[vega3d.tasks]\ncount_chairs = somebodys_tasks:TASK\nno_task = somebodys_tasks:NUMBER\n"
MODULE = """
from vega3d.evaluation import Scores, Task
from vega3d.evaluation.records import Field, is_text

def score(samples):
    hits = [sample.get("prediction") == "4" for sample in samples]
    return Scores([{"hit": hit} for hit in hits], {"hits": sum(hits)})

TASK = Task(
    name="count_chairs", title="Chairs", protocol="four is right", version="1", sources=("nowhere",),
    fields=(Field("prediction", is_text, "a number"),), score=score, headline=(("hits",),),
)
NUMBER = 4
"""


@pytest.fixture
def plugin(tmp_path: Path) -> dict[str, str]:
    """The environment of a process in which a package with two entry points is installed."""
    info = tmp_path / "site" / "somebodys_tasks-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-tasks\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    (tmp_path / "site" / "somebodys_tasks.py").write_text(MODULE)
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(root)])}


def test_a_task_of_version_0_1_is_listed_and_scored_with_a_warning(
    plugin: dict[str, str],
) -> None:
    code = (
        "from vega3d.evaluation import score, protocol_names\n"
        "assert 'count_chairs' in protocol_names()\n"
        "print(score('count_chairs', [{'prediction': '4'}, {}])['hits'])\n"
    )
    command = [sys.executable, "-W", "default", "-c", code]
    done = subprocess.run(command, env=plugin, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert "vega3d.evaluation.Task is now" in done.stderr
    assert "vega3d.tasks is now vega3d.benchmarks" in done.stderr


def test_an_entry_point_that_is_no_task_is_named_and_does_not_hide_the_others(plugin: dict[str, str]) -> None:
    code = "from vega3d.cli.main import main\nmain(['eval', 'list'])\n"
    done = subprocess.run([sys.executable, "-c", code], env=plugin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "no_task" in done.stderr
    assert "four is right" in done.stdout
    assert "vsibench/lmms-eval" in done.stdout


def test_names_of_tasks_are_sorted_and_complete() -> None:
    assert protocol_names() == sorted(protocol_names())
    assert set(PROTOCOLS) <= set(protocol_names())
