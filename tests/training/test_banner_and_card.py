"""A run says what it is about to do, what the model answers, and what it was trained with."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from tests.training.conftest import config
from tests.training.test_trainer import numbers_in, tensors
from vega3d.checkpoint.record import card, card_facts, is_generated
from vega3d.errors import ConfigError
from vega3d.training.arguments import _reporter_fault
from vega3d.training.banner import banner, parameter_counts
from vega3d.training.checkpoints import checkpoints
from vega3d.training.config import TrainConfig
from vega3d.training.export import export
from vega3d.training.finetune import train
from vega3d.training.same_run import identity
from vega3d.training.sample_answers import FILE, SampleAnswers

ROOT = Path(__file__).parents[2]
EVERY = {"every": 2, "rows": 2, "max_new_tokens": 4}


def settings_of(annotations: Path, out: Path, **changes: Any) -> TrainConfig:
    trainer = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 4, **changes.pop("trainer", {})}
    return config(annotations, out, eval_data=[{"file": str(annotations)}], trainer=trainer, **changes)


def trained(settings: TrainConfig) -> str:
    """Train; returns the text on standard error."""
    with contextlib.redirect_stderr(io.StringIO()) as err:
        train(settings)
    return err.getvalue()


@pytest.fixture(scope="module")
def with_answers(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run with sample answers, and the text that it printed."""
    out = tmp_path_factory.mktemp("answers") / "run"
    return out, trained(settings_of(annotations, out, sample_answers=EVERY, license="apache-2.0"))


# ---------------------------------------------------------------- the banner


def test_a_run_prints_its_rows_and_its_parameters(with_answers: tuple[Path, str]) -> None:
    out, text = with_answers
    assert "[vega3d] rows     7 rows an epoch, 7 to evaluate\n[vega3d] steps    4 of 2 rows" in text
    count = sum(numbers_in(file) for file in (out / "final").rglob("*.safetensors"))
    assert f"[vega3d] trained  {count:,} of " in text


def test_frozen_parameters_count_in_the_total_only() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1).requires_grad_(False))
    assert parameter_counts(model) == (8, 11)


@pytest.mark.parametrize(
    ("store", "line"),
    [
        ({}, "none: features are computed in every step"),
        ({"path": "features"}, "features, others are computed"),
        ({"path": "features", "only": True}, "features, and no other features"),
    ],
)
@pytest.mark.parametrize("checkpoint", [None, Path("run/checkpoint-3")])
def test_the_banner_names_the_store_and_the_checkpoint(
    store: dict[str, Any], line: str, checkpoint: Path | None
) -> None:
    arguments = SimpleNamespace(
        train_batch_size=2, gradient_accumulation_steps=3, world_size=4, output_dir="run"
    )
    trainer: Any = SimpleNamespace(
        model=torch.nn.Linear(2, 1), args=arguments, train_dataset=[1, 2], eval_dataset=None
    )
    trainer.state = SimpleNamespace(max_steps=9, global_step=3)
    lines = banner(trainer, config(Path("train.json"), Path("run"), store=store), checkpoint)
    assert f"store    {line}" in lines
    assert "steps    9 of 24 rows" in lines
    start = "from the first step" if checkpoint is None else "run/checkpoint-3, step 3"
    assert f"resume   {start}" in lines


def test_a_resumed_run_names_its_checkpoint(annotations: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    first = trained(config(annotations, out, "align", trainer={"max_steps": 2}))
    again = trained(config(annotations, out, "align", trainer={"max_steps": 3}))
    assert "resume   from the first step" in first
    assert f"resume   {checkpoints(out)[0]}, step 2" in again


# ---------------------------------------------------------------- reporters


@pytest.mark.parametrize("name", ["trackio", "wandb", "tensorboard"])
def test_a_reporter_is_documented_with_its_installation(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    assert f"| `{name}` | `pip install {name}`" in page
    assert f"trainer.report_to={name}" in page
    monkeypatch.setattr("vega3d.training.arguments.get_available_reporting_integrations", list)
    assert f"pip install {name}" in str(_reporter_fault(name))
    monkeypatch.setattr("vega3d.training.arguments.get_available_reporting_integrations", lambda: [name])
    assert _reporter_fault(name) is None


# ---------------------------------------------------------------- sample answers


def test_every_few_steps_the_model_answers_the_first_rows(with_answers: tuple[Path, str]) -> None:
    out, text = with_answers
    records = [json.loads(line) for line in (out / FILE).read_text().splitlines()]
    assert [record["step"] for record in records] == [2, 2, 4, 4]
    assert [record["expected"] for record in records[:2]] == ["four", "a red bed"]
    assert records[0]["question"] == "What is two and two?"
    assert all(isinstance(record["answer"], str) for record in records)
    assert "[vega3d] step 4: 'What is this?' -> " in text


@pytest.mark.exact
def test_sample_answers_change_neither_weights_nor_metrics(
    with_answers: tuple[Path, str], annotations: Path, tmp_path: Path
) -> None:
    out, _ = with_answers
    trained(settings_of(annotations, tmp_path / "run"))
    assert not (tmp_path / "run" / FILE).exists()
    plain, sampled = tensors(tmp_path / "run" / "final"), tensors(out / "final")
    assert all(torch.equal(tensor, sampled[name]) for name, tensor in plain.items())
    metrics = [
        card_facts((folder / "final" / "README.md").read_text()).training
        for folder in (out, tmp_path / "run")
    ]
    assert metrics[0] == metrics[1]
    assert "eval_loss_swapped" in metrics[0]


def test_steps_that_are_trained_again_write_their_answers_again(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("".join(json.dumps({"step": step}) + "\n" for step in (2, 4, 6)))
    trainer: Any = None
    callback = SampleAnswers(trainer, trainer, config(tmp_path, tmp_path).sample_answers, [])
    state = SimpleNamespace(is_world_process_zero=True, global_step=4)
    callback.on_train_begin(SimpleNamespace(output_dir=tmp_path), state, None)
    assert [json.loads(line)["step"] for line in (tmp_path / FILE).read_text().splitlines()] == [2, 4]


def test_sample_answers_may_be_added_when_a_run_is_resumed(annotations: Path, tmp_path: Path) -> None:
    plain = config(annotations, tmp_path)
    asked = config(annotations, tmp_path, sample_answers=EVERY, license="apache-2.0")
    assert identity(asked, {}) == identity(plain, {})


def test_sample_answers_need_a_positive_number_of_steps(annotations: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sample_answers"):
        config(annotations, tmp_path, sample_answers={"every": 0})


# ---------------------------------------------------------------- the model card


def card_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Front matter and text of a card."""
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def test_the_card_of_a_run_has_license_tag_hyper_parameters_and_metrics(
    with_answers: tuple[Path, str],
) -> None:
    out, _ = with_answers
    front, text = card_of(out / "final")
    assert (front["license"], front["pipeline_tag"]) == ("apache-2.0", "image-text-to-text")
    for row in (
        "| recipe | lora |",
        "| steps | 4 |",
        "| learning rate | 0.001 |",
        "| data | `train.jsonl` |",
    ):
        assert row in text
    assert re.search(r"^\| train_loss \| [\d.]+ \|$", text, re.MULTILINE)
    assert re.search(r"^\| eval_loss \| [\d.]+ \|$", text, re.MULTILINE)
    assert "runtime" not in text
    assert str(out) not in text


def test_the_card_loads_the_model_in_one_line(with_answers: tuple[Path, str]) -> None:
    _, text = card_of(with_answers[0] / "final")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert 'model = vega3d.load("this repository or folder")' in code.splitlines()
    compile(code, "card", "exec")


def test_an_export_keeps_the_card_of_its_run(with_answers: tuple[Path, str], tmp_path: Path) -> None:
    exported = export(with_answers[0] / "final", tmp_path / "out")
    assert card_of(exported) == card_of(with_answers[0] / "final")


def test_an_edited_card_is_never_overwritten(with_answers: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").write_text("# Mine\n")
    export(with_answers[0] / "final", tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "# Mine\n"


def test_a_card_is_recognised_as_generated_until_it_is_edited() -> None:
    from vega3d import Vega3DConfig

    text = card(Vega3DConfig())
    assert is_generated(text, Vega3DConfig())
    assert not is_generated(text.replace("trained parts", "best parts"), Vega3DConfig())
