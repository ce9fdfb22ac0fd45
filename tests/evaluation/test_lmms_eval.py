"""lmms-eval 0.7.3 itself asks vega3d, in an environment of its own; its answers and scores are held to ours.

Making that environment takes minutes and 2 GB. ``VEGA3D_LMMS_ENVIRONMENT`` names a folder to keep it in. What
pip needs beside its settings to find this torch is taken from ``PIP_EXTRA``, as in the Makefile.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vega3d.cli.main import main
from vega3d.evaluation import score
from vega3d.lmms_eval.docs import DATA, metrics_of
from vega3d.rooms import export_rooms
from vega3d.rooms.formats.scannet import export_scannet

pytestmark = [pytest.mark.full, pytest.mark.timeout(5400)]

ROOT = Path(__file__).parents[2]
LMMS_EVAL = ("lmms-eval==0.7.3", "filelock<4")  # it imports filelock._api, which filelock 4 does not have
FRAMES, QUESTIONS, FEW = 4, 200, 30
MODEL = f"pretrained=pico,max_num_frames={FRAMES}"
FIVE = {
    "multi3drefer_official": "multi3drefer/official",
    "scan2cap_vega": "scan2cap/vega",
    "scanqa_vega": "scanqa/vega",
    "scanrefer_textbox": "scanrefer/textbox",
    "sqa3d": "sqa3d",
}
VSIBENCH = """include: {package}/lmms_eval/tasks/vsibench/vsibench.yaml
task: vsibench_local
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files:
    test: {rows}
"""
REPLAY = """from lmms_eval.api.model import lmms

class Replay(lmms):
    is_simple = True
    def __init__(self, **told):  # the batch size and such
        super().__init__()
    def generate_until(self, requests):
        return [self.task_dict[r.args[4]][r.args[5]][r.args[3]]["said"] for r in requests]
    def loglikelihood(self, requests): ...
    def generate_until_multi_round(self, requests): ...
"""


@dataclass(frozen=True)
class Harness:
    """An environment with lmms-eval and vega3d, and a home of its own for what lmms-eval keeps."""

    python: Path
    home: Path

    def run(self, *arguments: str, **variables: str) -> str:
        """The output of a command of this environment's Python; lmms-eval ends with 0 when it fails."""
        own = {"HF_HOME": str(self.home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables}
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", DATA)}
        command = [str(self.python), *arguments]
        done = subprocess.run(command, env=kept | own, cwd=self.home, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Traceback" not in done.stderr, done.stderr[-4000:]
        return done.stdout

    def evaluate(
        self, out: Path, tasks: str, include: Path | str, *more: str, **variables: str
    ) -> tuple[dict[str, list[Any]], Any]:
        """Run lmms-eval; the logged samples by task in the order of the documents, and its results."""
        fixed = ["--tasks", tasks, "--include_path", str(include), "--log_samples", "--output_path", str(out)]
        self.run("-m", "vega3d.lmms_eval", *more, *fixed, **variables)
        logged = {task: lines(next(out.rglob(f"*_samples_{task}.jsonl"))) for task in tasks.split(",")}
        ordered = {task: sorted(rows, key=lambda row: row["doc_id"]) for task, rows in logged.items()}
        return ordered, json.loads(next(out.rglob("*_results.json")).read_text("utf-8"))["results"]


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    """As docs/evaluation.md says it: one command of pip, with the torch that is here."""
    work = tmp_path_factory.mktemp("lmms")
    folder = Path(os.environ.get("VEGA3D_LMMS_ENVIRONMENT", work / "environment"))
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    source = work / "source"  # a copy: an installed package, and no build folder beside ours
    shutil.copytree(ROOT / "vega3d", source / "vega3d", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    torch = f"torch=={importlib.metadata.version('torch')}"
    pip = [str(python), "-m", "pip", "install", "-q", *shlex.split(os.environ.get("PIP_EXTRA", ""))]
    done = subprocess.run([*pip, torch, *LMMS_EVAL, f"{source}[eval]"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    home = work / "home"
    home.mkdir()
    return Harness(python, home)


@pytest.fixture(scope="module")
def rooms(harness: Harness, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms as VSI-Bench, where lmms-eval looks for that benchmark's clips."""
    root = tmp_path_factory.mktemp("vsibench")
    rows = lines(export_rooms(root, 14, width=128, height=128, frames=16))
    assert len(rows) >= QUESTIONS
    (harness.home / "vsibench").symlink_to(root)
    return root


@pytest.fixture(scope="module")
def local(harness: Harness, rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """lmms-eval's own vsibench, with its questions from this disk."""
    return local_vsibench(harness, rooms / "test.jsonl", tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="module")
def ours(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The same questions by `vega3d eval run`."""
    return eval_run("vsibench/lmms-eval", rooms, tmp_path_factory.mktemp("ours"), QUESTIONS)[0]


def test_both_packages_agree_on_every_requirement(harness: Harness) -> None:
    assert "No broken requirements" in harness.run("-m", "pip", "check")


def test_vsibench_by_lmms_eval_and_by_ours_are_the_same_answers_and_scores(
    harness: Harness, local: Path, ours: list[Any], tmp_path: Path
) -> None:
    options = ["--model", "vega3d", "--model_args", MODEL, "--device", "cpu", "--limit", str(QUESTIONS)]
    logged, results = harness.evaluate(tmp_path, "vsibench_local", local, *options)
    theirs = [row["vsibench_overall"] for row in logged["vsibench_local"]]
    assert len(theirs) == len(ours) == QUESTIONS
    assert [str(row["id"]) for row in theirs] == [row["id"] for row in ours]
    assert [row["prediction"] for row in theirs] == [row["output"].strip() for row in ours]
    assert [score_in(row) for row in theirs] == [row["score"] for row in ours]
    assert 0 < sum(row["score"] for row in ours) < QUESTIONS
    records = [row | {"ground_truth": row["truth"], "question_type": row["kind"]} for row in ours]
    read = score("vsibench/lmms-eval", [row | {"prediction": row["output"].strip()} for row in records])
    assert results["vsibench_local"]["vsibench_overall,none"] == read["aggregate_reported_overall"]


def test_the_simple_form_gives_the_same_answers(
    harness: Harness, local: Path, ours: list[Any], tmp_path: Path
) -> None:
    options = ["--model", "vega3d", "--model_args", MODEL, "--device", "cpu", "--limit", str(FEW)]
    logged, _ = harness.evaluate(tmp_path, "vsibench_local", local, *options, "--force_simple")
    theirs = [row["vsibench_overall"] for row in logged["vsibench_local"]]
    assert [(row["prediction"], score_in(row)) for row in theirs] == [
        (row["output"].strip(), row["score"]) for row in ours[:FEW]
    ]


def test_the_five_tasks_give_the_answers_and_numbers_of_eval_run(harness: Harness, tmp_path: Path) -> None:
    data, limit = tmp_path / "data", 8
    export_scannet(data, 2, split="val", width=96, height=72, frames=5)
    options = ["--model", "vega3d", "--model_args", MODEL, "--device", "cpu", "--limit", str(limit)]
    include = harness.run("-m", "vega3d.lmms_eval").strip()
    logged, results = harness.evaluate(
        tmp_path / "theirs", ",".join(FIVE), include, *options, **{DATA: str(data)}
    )
    for task, protocol in FIVE.items():
        samples, result = eval_run(protocol, data, tmp_path / "ours", limit)
        assert [row["filtered_resps"] for row in logged[task]] == [row["output"] for row in samples]
        assert [row["score"]["score"] for row in logged[task]] == [row["score"] for row in samples]
        assert results[task]["score,none"] == pytest.approx(result["micro"]["mean"])
        for metric in metrics_of(protocol):
            assert results[task][f"{metric},none"] == result["headline"][metric], (task, metric)


def test_lmms_eval_reads_untidy_answers_as_our_protocol_does(harness: Harness, tmp_path: Path) -> None:
    golden = ROOT / "tests" / "goldens" / "metrics" / "vsibench__lmms_eval_0_7_3.json"
    samples = json.loads(golden.read_text(encoding="utf-8"))["samples"]
    blank = {"question": "?", "options": ["A. a", "B. b"], "dataset": "none", "scene_name": "none"}
    rows = [blank | row | {"said": row["prediction"], "doc": n} for n, row in enumerate(samples)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    models = tmp_path / "replay" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    (models.parent / "tasks").mkdir()  # lmms-eval 0.7.3 stops at a plug-in without tasks
    (models.parent / "tasks" / "__init__.py").touch()
    (models / "__init__.py").write_text('AVAILABLE_MODELS = {"replay": "Replay"}\n', encoding="utf-8")
    (models / "replay.py").write_text(REPLAY, encoding="utf-8")
    plugin = {"PYTHONPATH": str(tmp_path), "LMMS_EVAL_PLUGINS": "replay"}
    include = local_vsibench(harness, file, tmp_path / "tasks")
    logged, results = harness.evaluate(
        tmp_path / "out", "vsibench_local", include, "--model", "replay", **plugin
    )
    stripped = [row | {"prediction": row["said"].strip()} for row in rows]  # lmms-eval does so for models
    read = score("vsibench/lmms-eval", stripped)
    theirs = [score_in(row["vsibench_overall"]) for row in logged["vsibench_local"]]
    assert theirs == pytest.approx([row["score"] for row in read["per_sample"]], abs=1e-9)
    assert results["vsibench_local"]["vsibench_overall,none"] == read["aggregate_reported_overall"]


def local_vsibench(harness: Harness, rows: Path, folder: Path) -> Path:
    """A folder with one task: lmms-eval's vsibench with these rows."""
    package = harness.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    folder.mkdir(exist_ok=True)
    (folder / "vsibench_local.yaml").write_text(VSIBENCH.format(package=package, rows=rows), encoding="utf-8")
    return folder


def eval_run(protocol: str, data: Path, out: Path, limit: int) -> tuple[list[Any], Any]:
    """Samples and result of our own run."""
    options = ["--data", str(data), "--out", str(out), "--frames", str(FRAMES), "--limit", str(limit)]
    assert main(["eval", "run", "pico", "--tasks", protocol, *options, "--device", "cpu", "--quiet"]) == 0
    folder = out / protocol.replace("/", "-")
    return lines(folder / "samples.jsonl"), json.loads((folder / "result.json").read_text("utf-8"))


def score_in(row: dict[str, Any]) -> float:
    """Fields that lmms-eval's vsibench writes beside an answer."""
    return float(row["accuracy"] if "accuracy" in row else row["MRA:.5:.95:.05"])


def lines(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
