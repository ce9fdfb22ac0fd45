"""``vega3d validate``: every fault is found in one pass, and a run that can start has none."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import media
from tests.training.conftest import config, row
from vega3d._utils.durations import in_time
from vega3d.cli.main import main
from vega3d.training.finetune import train
from vega3d.training.validation import Options, Report, validate

STORE = ["--backbone", "pico", "--set", "block=1", "--set", "pixels=2304", "--nframes", "2"]


def written(settings: Any, folder: Path) -> Path:
    """A config as the YAML file that a user would have."""
    record = json.loads(json.dumps(settings if isinstance(settings, dict) else settings.to_dict()))
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(record))
    return file


def said(report: Report) -> list[str]:
    return [f"{one.kind} {one.where}: {one.error}" for one in report.findings]


@pytest.fixture(scope="module")
def store(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "features"
    assert main(["cache", "build", str(path), str(annotations), *STORE]) == 0
    return path


# ---------------------------------------------------------------- fifteen faults at once


def plant(folder: Path) -> list[dict[str, Any]]:
    """Rows of which each has one fault; two are sound."""
    media.photo(60, 60).save(folder / "good.png")
    media.photo(400, 400).save(folder / "large.png")
    media.photo(402, 2).save(folder / "strip.png")
    noisy = folder / "noisy.png"
    media.photo(200, 200).save(noisy)
    (folder / "short.png").write_bytes(noisy.read_bytes()[:900])
    (folder / "words.png").write_text("no picture")
    media.write_truncated(folder / "short.mp4")
    (folder / "words.mp4").write_text("no video")
    return [
        row("What?", "this"),
        row("<image>What?", "that", image="good.png"),
        row("<image>What?", "a", image="missing.png"),
        row("<image>What?", "a", image="short.png"),
        row("<image>What?", "a", image="words.png"),
        row("<image>What?", "a", image="strip.png"),
        row("<video>What?", "a", video="short.mp4"),
        row("<video>What?", "a", video="words.mp4"),
        row("<image><image>What?", "a", image="good.png"),
        row("What?", "a", image="good.png"),
        {"conversations": [{"from": "martian", "value": "What?"}, {"from": "gpt", "value": "a"}]},
        {"conversations": [{"from": "human", "value": "What?"}]},
        row("<image>" + "What? " * 400, "a", image="good.png"),
        {"messages": [{"role": "user", "content": [{"type": "video", "video": "a.mp4", "nframs": 3}]}]},
        {**row("<image>What?", "a", image="good.png"), "spar_info": {"red_point": [[1, 2]]}},
    ]


FAULTS = (
    # settings
    "Unknown key 'lora.rnak'",
    "Unknown key 'trainer.learning_rat'",
    "Invalid value for 'new_modules_lr'",
    "Unknown key 'recipy'",
    "Cannot read DeepSpeed's settings",
    "Missing trainer.eval_strategy",
    # output
    "Cannot write the run to",
    # files
    r"Cannot read the annotation file .*none\.jsonl",
    r"bad\.jsonl, row 1.*Invalid line: not JSON",
    # media
    r"row 2.*Missing file .*missing\.png",
    r"row 3.*short\.png",
    r"row 4.*words\.png",
    r"row 5.*too long and thin",
    r"row 6.*short\.mp4.*truncated",
    r"row 7.*Cannot decode .*words\.mp4",
    # rows
    "row 8.*Missing image: the row has more placeholders",
    "row 9.*Missing <image>: the row has more images",
    "row 10.*Unknown role",
    "row 11.*nothing to train on",
    "row 12.*Invalid length",
    "row 13.*nframs",
    "row 14.*Missing setting 'spar'",
    # store
    "features of another generator",
    # memory
    "Missing GPU memory",
)


@pytest.fixture(scope="module")
def planted(store: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The report of one pass over a config with all of these faults."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "bad.jsonl").write_text(json.dumps(row("What?", "a")) + "\n{not json\n")
    (folder / "train.json").write_text(json.dumps(plant(folder)))
    (folder / "file").write_text("in the way")
    record = {
        "model": {"host": "pico", "backbone": {"path": "pico", "block": 2, "pixels": 2304}},
        "recipy": "lora",
        "data": [{"file": str(folder / name)} for name in ("train.json", "bad.jsonl", "none.jsonl")],
        "eval_data": [{"file": str(folder / "bad.jsonl")}],
        "lora": {"rnak": 4},
        "store": {"path": str(store)},
        "sampling": {"nframes": 2},
        "new_modules_lr": "fast",
        "max_length": 600,
        "trainer": {
            "output_dir": str(folder / "file" / "out"),
            "learning_rat": 1e-4,
            "deepspeed": str(folder / "zero.json"),
            "use_cpu": True,
        },
    }
    return said(validate(written(record, folder), options=Options(gpu_memory=1)))


@pytest.mark.parametrize("fault", FAULTS)
def test_one_pass_finds(fault: str, planted: list[str]) -> None:
    assert any(re.search(fault, line, re.DOTALL) for line in planted), "\n".join(planted)


def test_one_pass_finds_nothing_that_was_not_planted(planted: list[str]) -> None:
    assert len(planted) == len(FAULTS), "\n".join(planted)


def test_every_broken_medium_of_a_row_is_named(tmp_path: Path) -> None:
    both = row("<image><image>What?", "a", image=["one.png", "two.png"])
    (tmp_path / "train.json").write_text(json.dumps([both]))
    found = said(validate(written(config(tmp_path / "train.json", tmp_path / "out"), tmp_path)))
    assert sum("one.png" in line for line in found) == sum("two.png" in line for line in found) == 1


def test_weights_of_another_generator_are_found(store: Path, annotations: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for file in store.iterdir():
        (foreign / file.name).write_bytes(file.read_bytes())
    about = json.loads((foreign / "store.json").read_text())
    (foreign / "store.json").write_text(json.dumps({**about, "fingerprint": "0" * 64}))
    file = written(config(annotations, tmp_path / "out", store={"path": str(foreign)}), tmp_path)
    assert said(validate(file)) == []  # settings alone say nothing about weights
    assert "another generator" in said(validate(file, options=Options(weights=True)))[0]


def test_a_feature_that_nobody_will_compute_is_found(store: Path, annotations: Path, tmp_path: Path) -> None:
    other = {"nframes": 3}
    settings = config(annotations, tmp_path / "out", sampling=other, store={"path": str(store), "only": True})
    found = said(validate(written(settings, tmp_path)))
    assert [line.split(":")[0] for line in found] == [f"store train.jsonl, row {at}" for at in (3, 6)]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainer": {"eval_strategy": "steps", "eval_steps": 2}}, "Missing eval_data"),
        ({"model": {"host": "nowhere/host", "backbone": {"path": "pico"}}}, "nowhere/host"),
        ({"model": {"host": "pico", "backbone": {"path": "nowhere/wan"}}}, "Unknown Wan"),
        ({"model": {"host": "pico", "backbone": {"path": "pico", "block": 99}}}, "Invalid block 99"),
        ({"lora": {"targets": "no_such_layer"}}, "Invalid lora.targets"),
        ({"store": {"path": "nowhere"}}, "Cannot read the feature store"),
    ],
)
def test_a_part_that_does_not_fit_is_found(
    changes: dict[str, Any], words: str, annotations: Path, tmp_path: Path
) -> None:
    found = said(validate(written(config(annotations, tmp_path / "out", **changes), tmp_path)))
    assert any(words in line for line in found), found


def test_masters_that_nobody_keeps_are_found(annotations: Path, tmp_path: Path) -> None:
    model = {"host": "pico", "dtype": "bfloat16", "backbone": {"path": "pico", "block": 1}}
    settings = config(annotations, tmp_path / "out", "full", model=model)
    assert any("rounding" in line for line in said(validate(written(settings, tmp_path))))


def test_the_folder_of_another_run_is_found(annotations: Path, tmp_path: Path) -> None:
    train(config(annotations, tmp_path / "run", "align", trainer={"max_steps": 2}))
    other = written(config(annotations, tmp_path / "run", "lora"), tmp_path)
    assert any("recipe: 'align'" in line for line in said(validate(other)))
    fresh = written(config(annotations, tmp_path / "run", "align", resume=False), tmp_path)
    assert any("resume=false" in line for line in said(validate(fresh)))


@pytest.mark.parametrize(
    ("name", "words"), [("codecarbon", "not installed"), ("wandbb", "did you mean 'wandb'")]
)
def test_a_reporter_that_cannot_report_is_found_and_stops_training(
    name: str, words: str, annotations: Path, tmp_path: Path
) -> None:
    file = written(config(annotations, tmp_path / "out", trainer={"report_to": name}), tmp_path)
    report = validate(file)
    assert [words in line for line in said(report)] == [True]
    assert report.plan is not None  # the rest is looked at all the same
    assert main(["train", str(file)]) == 1


@pytest.mark.parametrize("answers", [[""], [" \n"], ["yes", ""]])
def test_an_empty_answer_is_found(answers: list[str], tmp_path: Path) -> None:
    turns = [row("What?", answer)["conversations"] for answer in answers]
    rows = [row("What?", "this"), {"conversations": [turn for pair in turns for turn in pair]}]
    (tmp_path / "train.json").write_text(json.dumps(rows))
    found = said(validate(written(config(tmp_path / "train.json", tmp_path / "out"), tmp_path)))
    assert [line.split(": Missing")[0] for line in found] == ["annotation train.json, row 1"]
    assert "empty" in found[0]


def test_the_folder_of_a_run_with_another_seed_or_other_rows_is_found(
    annotations: Path, tmp_path: Path
) -> None:
    shutil.copytree(annotations.parent, tmp_path / "rows")
    rows, out = tmp_path / "rows" / annotations.name, tmp_path / "run"
    train(config(rows, out, "align", trainer={"max_steps": 2}))
    assert said(validate(written(config(rows, out, "align", trainer={"max_steps": 9}), tmp_path))) == []
    other = written(config(rows, out, "align", trainer={"seed": 4}), tmp_path)
    assert ["trainer.seed: 4" in line for line in said(validate(other))] == [True]
    rows.write_text(rows.read_text() + "\n")
    same = written(config(rows, out, "align"), tmp_path)
    assert ["contents of" in line for line in said(validate(same))] == [True]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1e-4, "under a minute"),
        (59, "under a minute"),
        (75, "about a minute"),
        (600, "about 10 minutes"),
        (7200, "about 2.0 hours"),
        (360_000, "about 100 hours"),
    ],
)
def test_a_duration_is_written_for_people(seconds: float, words: str) -> None:
    assert in_time(seconds) == words


def test_a_file_that_is_no_yaml_is_one_finding(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("a: [1")
    assert len(validate(tmp_path / "run.yaml").findings) == 1


def test_deepspeed_that_would_not_clip_is_found(annotations: Path, tmp_path: Path) -> None:
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    settings = config(annotations, tmp_path / "out", trainer={"deepspeed": str(tmp_path / "zero.json")})
    assert any("clipped" in line for line in said(validate(written(settings, tmp_path))))


# ---------------------------------------------------------------- a run that can start


@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_a_run_that_can_start_has_no_problem_and_its_true_size(
    recipe: str, annotations: Path, tmp_path: Path
) -> None:
    from tests.training.test_trainer import trainer_of

    settings = config(annotations, tmp_path / "out", recipe, trainer={"max_steps": -1, "num_train_epochs": 3})
    report = validate(written(settings, tmp_path))
    assert said(report) == []
    trainer = trainer_of(settings)
    batches = [trainer.data_collator([one]) for one in trainer.train_dataset]
    assert report.rows.lengths == [batch["input_ids"].shape[1] for batch in batches]
    assert report.rows.trained == sum(int((batch["labels"] != -100).sum()) for batch in batches)
    assert report.plan is not None
    assert report.plan.trained == sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    assert report.plan.frozen == sum(p.numel() for p in trainer.model.parameters() if not p.requires_grad)
    trainer.train()
    assert report.plan.steps == trainer.state.global_step
    assert not (tmp_path / "nothing").exists()


def test_more_gpus_take_fewer_steps_and_less_memory_each(annotations: Path, tmp_path: Path) -> None:
    zero = Path(__file__).parents[2] / "configs" / "deepspeed" / "zero3.json"
    changes = {"trainer": {"max_steps": -1, "deepspeed": str(zero)}}
    file = written(config(annotations, tmp_path / "out", "full", **changes), tmp_path)
    one, four = (validate(file, options=Options(gpus=gpus)).plan for gpus in (1, 4))
    assert one is not None
    assert four is not None
    assert four.steps < one.steps
    assert four.peak < one.peak
    assert four.hours < one.hours


def test_rows_that_lose_text_are_counted(annotations: Path, tmp_path: Path) -> None:
    texts = [row("What?", "x" * 500), row("What?", "x")]
    (tmp_path / "long.json").write_text(json.dumps(texts))
    settings = config(tmp_path / "long.json", tmp_path / "out", max_length=200, overlong="truncate")
    report = validate(written(settings, tmp_path))
    assert (said(report), report.rows.truncated) == ([], 1)


def test_a_stores_coverage_is_counted(store: Path, annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path / "out", store={"path": str(store), "only": True})
    report = validate(written(settings, tmp_path))
    assert (said(report), report.rows.lacking, report.rows.stored) == ([], 0, 6)


def test_workers_find_the_same(annotations: Path, tmp_path: Path) -> None:
    file = written(config(annotations, tmp_path / "out", max_length=20), tmp_path)
    alone, together = (validate(file, options=Options(workers=workers)) for workers in (0, 2))
    assert said(alone) == said(together) != []
    assert alone.rows.lengths == together.rows.lengths


def test_a_part_of_the_rows_can_be_opened(annotations: Path, tmp_path: Path) -> None:
    report = validate(written(config(annotations, tmp_path / "out"), tmp_path), options=Options(rows=2))
    assert (report.rows.checked, sum(report.files.values())) == (2, 7)


def test_looking_writes_nothing(annotations: Path, tmp_path: Path) -> None:
    file = written(config(annotations, tmp_path / "out"), tmp_path)
    validate(file)
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_the_command_says_it_and_sets_its_exit_code(
    annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(config(annotations, tmp_path / "out"), tmp_path)
    assert main(["validate", str(file)]) == 0
    text = capsys.readouterr().out
    assert "no problem was found" in text
    assert "assumed, not measured" in text
    assert "under a minute, if each GPU reaches" in text
    assert main(["validate", str(file), "lora.rnak=3", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["where"] == "lora.rnak"
