"""A separate package adds a host, a backbone, a fusion and a benchmark, one file each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.media import write_video

PACKAGE = Path(__file__).parent / "plugin" / "somebodys_vega3d"
ENTRY_POINTS = """
[vega3d.hosts]
somebodys_vl = somebodys_vega3d.host:SomebodysFamily

[vega3d.backbones]
colours = somebodys_vega3d.backbone:Colours

[vega3d.fusions]
add = somebodys_vega3d.fusion:Add

[vega3d.benchmarks]
count_chairs = somebodys_vega3d.benchmark:BENCHMARK
"""

USE = """
import sys
from pathlib import Path
import torch
from vega3d import Vega3DAdapter, Vega3DConfig, registry
from vega3d.config import FusionConfig
assert not any(name.startswith("somebodys_vega3d") for name in sys.modules), "a plug-in was imported early"
assert "somebodys_vl" in registry.names("hosts")
assert registry.resolve("benchmarks", "count_chairs").name == "count_chairs"

from tests import tiny
from somebodys_vega3d.backbone import ColourConfig, Colours
from somebodys_vega3d.host import SomebodysConfig, SomebodysVL

own = tiny.qwen2_5_vl()
torch.manual_seed(0)
host = SomebodysVL(SomebodysConfig(**own.config.to_dict() | {"model_type": "somebodys_vl"})).eval()
config = Vega3DConfig(backbone=ColourConfig(path="nowhere", cells=5), fusion=FusionConfig("add"))
model = Vega3DAdapter.wrap(host, config)
assert type(model.backbone) is Colours and model.backbone.config.cells == 5
assert type(model.fusion).__module__ == "somebodys_vega3d.fusion"

batch = tiny.make_batch(host, [[("video", 3, 4, 6), ("image", 1, 4, 4)], []])
batch.pop("second_per_grid_ts", None)
batch["labels"] = batch["input_ids"].clone()
trained = [p for part in (model.projector, model.fusion) for p in part.parameters()]
optimizer = torch.optim.SGD(trained, lr=0.1)
before = model(**batch).loss
before.backward()
assert all(p.grad is not None for p in model.projector.parameters())
optimizer.step()
after = model(**batch).loss
assert after < before

folder = Path(sys.argv[1])
model.save_pretrained(folder)
again = Vega3DAdapter.from_pretrained(folder, host=host)
assert again.vega3d_config == model.vega3d_config
assert torch.equal(again.eval()(**batch).logits, model.eval()(**batch).logits)
reports = again.encode(**batch).reports
assert [report.contribution.gt(0).all().item() for report in reports] == [True, True]
batch.pop("labels")
tokens = again.generate(**batch, max_new_tokens=2, do_sample=False)
assert len(tokens) == 2
print("used", type(again.family).__name__)
"""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package as an installer leaves it: its folder and its metadata, nothing else."""
    site = tmp_path / "site"
    info = site / "somebodys_vega3d-1.0.dist-info"
    info.mkdir(parents=True)
    (site / PACKAGE.name).symlink_to(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-vega3d\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return site


def run(site: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(Path(__file__).parents[1])])
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)


def chairs(data: Path) -> None:
    """The benchmark's files: two videos with two chairs each."""
    for number in (1, 2):
        write_video(data / f"{number}.mp4")
    rows = [{"clip": f"{number}.mp4", "chairs": 2} for number in (1, 2)]
    (data / "chairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_model_made_of_plug_ins_is_wrapped_trained_saved_and_loaded(
    installed: Path, tmp_path: Path
) -> None:
    done = run(installed, USE, str(tmp_path / "checkpoint"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "used SomebodysFamily"


EVALUATE = """
import json, sys
from pathlib import Path
from vega3d.cli.main import main
from vega3d.lmms_eval.docs import docs_of, metrics_of, process_results

data, out = Path(sys.argv[1]), Path(sys.argv[2])

def call(*words):
    print("##", *words[:2], flush=True)
    assert main(["eval", *words]) == 0, words

call("list")
call("check", "count_chairs", "--data", str(data))
options = ["--data", str(data), "--frames", "2", "--device", "cpu", "--quiet"]
call("run", "pico", "--tasks", "count_chairs", "--out", str(out / "ours"), *options)
call("run", "pico", "--tasks", "count_chairs", "--out", str(out / "plain"), "--plain", *options)
call("compare", str(out / "plain" / "count_chairs"), str(out / "ours" / "count_chairs"), "--draws", "100")
call("score", "count_chairs", str(data / "answers.json"), "--out", str(out / "scores.json"))
doc = docs_of("count_chairs", data)[0]
assert doc["prompt"].startswith("How many chairs")
assert process_results(doc, ["about 2."])["score"]["score"] == 1.0
assert metrics_of("count_chairs") == ("accuracy",)
"""


def test_a_benchmark_of_somebody_else_is_listed_checked_run_compared_and_scored(
    installed: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    chairs(data)
    answers = [{"prediction": "2", "chairs": 2}, {"prediction": "3", "chairs": 2}]
    (data / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    done = run(installed, EVALUATE, str(data), str(out))
    assert done.returncode == 0, done.stderr
    listed, checked, asked, _, compared, scored = done.stdout.split("## ")[1:]
    assert "Count the chairs" in listed
    assert "ready" in checked
    assert "2 answered, 0 errors" in asked
    assert "2 paired questions in 2 scenes" in compared
    assert "0.5000" in scored
    result = json.loads((out / "ours" / "count_chairs" / "result.json").read_text(encoding="utf-8"))
    assert set(result["headline"]) == {"accuracy"}
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["accuracy"] == 0.5


COMMANDS = """
import json, sys
from pathlib import Path
from vega3d.cli.main import main

data, out = Path(sys.argv[1]), Path(sys.argv[2])

def call(*words):
    print("##", *words[:2], flush=True)
    assert main(list(words)) == 0, words

host, train = str(out / "host"), str(out / "train.yaml")
store = out / "store"
settings = ["--backbone", "nowhere", "--set", "type=colours", "--set", "cells=5"]
call("cache", "build", str(store), str(data / "rows.jsonl"), "--nframes", "2", "--device", "cpu", *settings)
call("cache", "stats", str(store))
call("train", train)
stored = [f"store.path={store}", "store.only=true", f"trainer.output_dir={out / 'stored'}"]
call("train", train, "recipe=align", *stored)
final, common = str(out / "run" / "final"), ["--device", "cpu", "--frames", "2", "--quiet"]
question = [str(data / "1.mp4"), "How many chairs?", "--max-new-tokens", "2", "--json"]
call("ask", *question, "--model", final, *common)
options = ["--tasks", "count_chairs", "--data", str(data), *common]
call("eval", "run", final, "--out", str(out / "ours"), *options)
call("eval", "run", final, "--out", str(out / "plain"), "--plain", *options)
folders = [str(out / name / "count_chairs") for name in ("plain", "ours")]
call("eval", "compare", *folders, "--draws", "100")
"""

SAVE_HOST = """
import sys
from tests import processors, tiny
from somebodys_vega3d.host import SomebodysConfig, SomebodysVL

config = SomebodysConfig(**tiny.qwen2_5_vl().config.to_dict() | {"model_type": "somebodys_vl"})
SomebodysVL(config).save_pretrained(sys.argv[1])
processors.host_processor(patch=config.vision_config.patch_size).save_pretrained(sys.argv[1])
"""


def test_the_plug_ins_answer_cache_train_and_are_evaluated_by_the_commands(
    installed: Path, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    chairs(data)
    turns = [
        {"from": "human", "value": "<video>\nHow many chairs?"},
        {"from": "gpt", "value": "2"},
    ]
    rows = [{"video": f"{number}.mp4", "conversations": turns} for number in (1, 2)]
    (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    saved = run(installed, SAVE_HOST, str(out / "host"))
    assert saved.returncode == 0, saved.stderr
    settings = {
        "model": {
            "host": str(out / "host"),
            "backbone": {"type": "colours", "path": "nowhere", "cells": 5},
            "fusion": "add",
        },
        "recipe": "lora",
        "data": [{"file": str(data / "rows.jsonl")}],
        "sampling": {"nframes": 2},
        "trainer": {
            "output_dir": str(out / "run"),
            "max_steps": 4,
            "per_device_train_batch_size": 1,
            "learning_rate": 0.01,
            "use_cpu": True,
            "disable_tqdm": True,
        },
    }
    (out / "train.yaml").write_text(json.dumps(settings), encoding="utf-8")
    done = run(installed, COMMANDS, str(data), str(out))
    assert done.returncode == 0, done.stderr
    built, stats, trained, stored, asked, _, _, compared = done.stdout.split("## ")[1:]
    assert "2" in built
    assert "colours" in stats
    assert str(out / "run" / "final") in trained
    assert str(out / "stored" / "final") in stored
    assert json.loads(asked.split("\n", 1)[1])["frames"] == 2
    assert "2 paired questions in 2 scenes" in compared
    state = json.loads((out / "run" / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8"))
    assert state["global_step"] == 4
    written = json.loads((out / "run" / "final" / "vega3d_config.json").read_text(encoding="utf-8"))
    assert (written["host"]["model_type"], written["backbone"]["type"]) == ("somebodys_vl", "colours")


def test_a_backbone_of_somebody_else_is_estimated(installed: Path) -> None:
    code = "import sys; from vega3d.cli.main import main; sys.exit(main(sys.argv[1:]))"
    words = ["estimate", "--host", "3b", "--frames", "4", "--set", "type=colours", "cells=5", "--json"]
    done = run(installed, code, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["setup"]["config"] == {"path": "t2v-1.3b", "channels": 3, "cells": 5}
    assert found["clips"][0]["branch"]["means"] == 4 * 3 * 640 * 480
    assert found["clips"][0]["stored"]["native"]["bfloat16"] == 4 * 5 * 5 * 3 * 2
    assert run(installed, code, *words[:-1]).stdout.startswith("host 3b, generator")


def test_a_backbone_that_does_not_describe_its_cost_is_a_typed_error(installed: Path) -> None:
    code = (
        "from somebodys_vega3d.backbone import ColourConfig\n"
        "del ColourConfig.cost\n"
        "from vega3d.costs import Setup, estimate\n"
        "estimate(Setup(config=ColourConfig()))"
    )
    assert "ConfigError: Unknown cost of a backbone with ColourConfig" in run(installed, code).stderr


def test_without_the_package_its_names_are_unknown(tmp_path: Path) -> None:
    code = "from vega3d import registry; print([n for k in registry.BUILT_IN for n in registry.names(k)])"
    names = run(tmp_path, code).stdout
    assert "gated_residual" in names
    assert not any(name in names for name in ("somebodys_vl", "colours", "'add'", "count_chairs"))


def test_a_plug_in_needs_one_file_each() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {
        "__init__",
        "host",
        "backbone",
        "fusion",
        "benchmark",
    }
