"""A run trains what its recipe says, writes that and no more, and goes on where it was killed."""

from __future__ import annotations

import math
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors import safe_open

from tests import tiny
from tests.training.conftest import config
from vega3d import Vega3DAdapter, Vega3DConfig, WanBackbone, WanConfig
from vega3d.errors import ConfigError
from vega3d.pico import pico_path
from vega3d.training import trainer as trainer_module
from vega3d.training.checkpoints import is_complete, keep_last, last_complete, mark_complete
from vega3d.training.config import TrainConfig
from vega3d.training.finetune import load_parts, make_trainer, run, train, training_arguments
from vega3d.training.metrics import fused_sums
from vega3d.training.recipes import apply_recipe, parameter_groups
from vega3d.training.trained import load_trained, plain_name, trained_of
from vega3d.training.trainer import Vega3DTrainer

FORK = multiprocessing.get_context("fork")  # a child begins at once, without importing anything


def trainer_of(settings: TrainConfig) -> Vega3DTrainer:
    arguments = training_arguments(settings)
    return make_trainer(settings, *load_parts(settings, 3), arguments)


def losses(trainer: Vega3DTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    found = load_trained(folder)
    return found.own | found.lora | found.host


# ---------------------------------------------------------------- what is trained, what is written


@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_a_recipe_changes_what_it_trains_and_nothing_else(
    recipe: str, annotations: Path, tmp_path: Path
) -> None:
    settings = config(annotations, tmp_path, recipe, trainer={"max_steps": 3, "save_strategy": "no"})
    trainer = trainer_of(settings)
    parts = {"align": (), "lora": (".lora_",), "full": ("host.model.language_model.", "host.lm_head.")}[
        recipe
    ]
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    run(trainer, settings)
    for name, parameter in trainer.model.named_parameters():
        is_trained = plain_name(name).startswith(("projector.", "fusion.")) or any(
            part in plain_name(name) for part in parts
        )
        assert parameter.requires_grad == is_trained, name
        assert is_trained or torch.equal(parameter, before[name]), name
    changed = sum(not torch.equal(p, before[n]) for n, p in trainer.model.named_parameters())
    assert changed > 0.9 * sum(p.requires_grad for p in trainer.model.parameters())
    assert len(losses(trainer)) == 3


@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_a_checkpoint_holds_the_trained_tensors_and_no_other(
    recipe: str, annotations: Path, tmp_path: Path
) -> None:
    settings = config(annotations, tmp_path, recipe, trainer={"max_steps": 2})
    trainer = trainer_of(settings)
    run(trainer, settings)
    count = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    for folder in (tmp_path / "checkpoint-2", tmp_path / "final"):
        files = list(folder.rglob("*.safetensors"))
        assert sum(numbers_in(file) for file in files) == count
        assert all(torch.isfinite(one).all() for one in tensors(folder).values())
    assert not list(tmp_path.rglob("*.bin"))


def numbers_in(file: Path) -> int:
    with safe_open(file, "pt") as opened:
        return sum(math.prod(opened.get_slice(name).get_shape()) for name in list(opened.keys()))


@pytest.mark.exact
def test_lora_is_written_as_a_plain_peft_folder_for_the_bare_host(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, trainer={"max_steps": 2, "save_strategy": "no"})
    trainer = trainer_of(settings)
    folder = run(trainer, settings)
    host = load_parts(settings, 3)[0].host
    bare = PeftModel.from_pretrained(host, folder / "lora").eval()
    trained = trained_of(trainer.model).lora
    loaded = {name.replace(".default", ""): one for name, one in bare.named_parameters() if "lora_" in name}
    assert trained.keys() == loaded.keys()
    assert all(torch.equal(trained[name], loaded[name]) for name in trained)


def test_a_checkpoint_is_read_by_from_pretrained_as_it_stands(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, "align", trainer={"max_steps": 2})
    trainer = trainer_of(settings)
    run(trainer, settings)
    model = Vega3DAdapter.from_pretrained(tmp_path / "checkpoint-2")
    own = trained_of(trainer.model).own
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.own_state().items())


def test_full_fine_tuning_updates_float32_weights(annotations: Path, tmp_path: Path) -> None:
    trainer = trainer_of(config(annotations, tmp_path, "full"))
    assert {p.dtype for p in trainer.model.parameters() if p.requires_grad} == {torch.float32}


def test_full_fine_tuning_of_bfloat16_weights_without_masters_is_refused(
    annotations: Path, tmp_path: Path
) -> None:
    model = {"host": "pico", "dtype": "bfloat16", "backbone": {"path": "pico", "block": 1}}
    with pytest.raises(ConfigError, match="rounding"):
        trainer_of(config(annotations, tmp_path, "full", model=model))


# ---------------------------------------------------------------- groups


@pytest.mark.parametrize("fusion", ["gated_residual", "paper", "released_3d", "released_vsi"])
@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_each_trained_parameter_is_in_one_group_with_its_rate_and_decay(recipe: Any, fusion: str) -> None:
    adapter = Vega3DAdapter(
        tiny.make_host("qwen2_5_vl"), Vega3DConfig(backbone=WanConfig(channels=8), fusion=fusion)
    )
    model = apply_recipe(adapter, recipe)
    groups = parameter_groups(model, lr=1e-5, new_lr=1e-3, weight_decay=0.1)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert sum(len(group["params"]) for group in groups) == len(trained) == len(rate)
    for name, parameter in trained.items():
        is_new = plain_name(name).startswith(("projector.", "fusion."))
        assert rate[id(parameter)] == (1e-3 if is_new else 1e-5)
        assert decay[id(parameter)] == (0.1 if parameter.ndim >= 2 else 0.0)


def test_new_modules_learn_at_their_own_rate(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, trainer={"learning_rate": 0.0, "save_strategy": "no"})
    trainer = trainer_of(settings)
    before = trained_of(trainer.model)
    before = {name: one.clone() for name, one in (before.own | before.lora).items()}
    run(trainer, settings)
    after = trained_of(trainer.model)
    assert all(torch.equal(one, before[name]) for name, one in after.lora.items())
    assert not any(torch.equal(one, before[name]) for name, one in after.own.items() if "down" in name)


def test_an_optimizer_with_parameters_of_its_own_is_refused(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, "align", trainer={"optim": "muon"})
    with pytest.raises((ConfigError, ImportError)):
        trainer_of(settings).create_optimizer()


# ---------------------------------------------------------------- what is logged


def test_what_the_fusion_does_stands_beside_each_loss(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, "align", trainer={"save_strategy": "no"})
    trainer = trainer_of(settings)
    run(trainer, settings)
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert steps[0]["fusion/contribution"] == 0  # starts as the identity
    assert all(0 < entry["fusion/gate"] < 1 for entry in steps)
    assert all(entry["fusion/contribution"] > 0 for entry in steps[1:])
    assert all(entry["fusion/rms_generative_semantic"] > 0 for entry in steps[1:])


def test_the_logged_numbers_are_those_of_the_reports() -> None:
    wan = WanBackbone.from_pretrained(pico_path("wan"), config=WanConfig(block=0, pixels=1024))
    host = tiny.make_host("qwen2_5_vl")
    model = Vega3DAdapter(host, Vega3DConfig(backbone=wan.config, fusion="paper"), wan).train()
    seen: list[Any] = []
    model.fusion.register_forward_hook(lambda module, given, out: seen.append((*given[:2], out)))
    found = model.encode(**tiny.make_batch(host, [[("image", 1, 4, 6)], [("video", 2, 4, 4)]])).reports
    count, gate, square, change, _, _ = fused_sums(*seen[0]).tolist()
    gates = torch.cat([one.gate.flatten() for one in found]).double()
    changes = torch.cat([one.contribution.flatten() for one in found]).double()
    assert count == len(gates)
    expected = [gates.sum().item(), (gates**2).sum().item(), changes.sum().item()]
    assert [gate, square, change] == pytest.approx(expected, rel=1e-5)


def test_steps_of_text_alone_log_no_fusion_and_train(tmp_path: Path) -> None:
    file = tmp_path / "text.jsonl"
    file.write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n' * 4
    )
    settings = config(file, tmp_path, trainer={"max_steps": 2, "save_strategy": "no"})
    trainer = trainer_of(settings)
    run(trainer, settings)
    assert losses(trainer)[1] < losses(trainer)[0]
    assert not any(name.startswith("fusion/") for entry in trainer.state.log_history for name in entry)


# ---------------------------------------------------------------- killed, and taken up again


def killed(settings: TrainConfig, step: int, writing: bool) -> None:
    """Run in a process that kills itself in the middle of ``step``, or of writing its checkpoint."""

    def child() -> None:
        inner = Vega3DTrainer.training_step

        def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = inner(self, *args, **kwargs)
            if not writing and self.state.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        def mark(folder: Path) -> None:
            if writing and folder.name == f"checkpoint-{step}":
                os.kill(os.getpid(), signal.SIGKILL)
            mark_complete(folder)

        Vega3DTrainer.training_step = training_step  # type: ignore[method-assign]
        trainer_module.mark_complete = mark  # type: ignore[assignment]
        train(settings)

    process = FORK.Process(target=child)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("recipe", "step", "writing"), [("lora", 3, False), ("lora", 4, True), ("full", 5, False)]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(
    recipe: str, step: int, writing: bool, accumulate: int, annotations: Path, tmp_path: Path
) -> None:
    steps = {"gradient_accumulation_steps": accumulate}
    whole = train(config(annotations, tmp_path / "whole", recipe, trainer=steps))
    settings = config(annotations, tmp_path / "killed", recipe, trainer=steps)
    killed(settings, step, writing)
    found, skipped = last_complete(tmp_path / "killed")
    assert found is not None
    assert [path.name for path in skipped] == (["checkpoint-4"] if writing else [])
    expected, again = tensors(whole), tensors(train(settings))
    assert expected.keys() == again.keys()
    assert all(torch.equal(one, again[name]) for name, one in expected.items())


@pytest.mark.exact
def test_a_run_that_was_killed_after_its_last_step_trains_no_more(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path / "run")
    expected = tensors(train(settings))
    shutil.rmtree(tmp_path / "run" / "final")
    trainer = trainer_of(settings)
    again = tensors(run(trainer, settings))
    assert trainer.state.global_step == settings.trainer["max_steps"]
    assert all(torch.equal(one, again[name]) for name, one in expected.items())


@pytest.mark.parametrize(
    "name", ["vega3d_model.safetensors", "optimizer.pt", "complete.json", "trainer_state.json"]
)
def test_a_checkpoint_with_a_short_file_is_not_whole(name: str, annotations: Path, tmp_path: Path) -> None:
    train(config(annotations, tmp_path, "align"))
    assert is_complete(tmp_path / "checkpoint-6")
    data = (tmp_path / "checkpoint-6" / name).read_bytes()
    (tmp_path / "checkpoint-6" / name).write_bytes(data[: len(data) // 2])
    found, skipped = last_complete(tmp_path)
    assert (found, [*skipped]) == (tmp_path / "checkpoint-4", [tmp_path / "checkpoint-6"])


def test_half_written_checkpoints_do_not_push_out_whole_ones(tmp_path: Path) -> None:
    for number in (2, 4, 6, 8):
        (tmp_path / f"checkpoint-{number}").mkdir()
    for number in (2, 4):
        mark_complete(tmp_path / f"checkpoint-{number}")
    keep_last(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"checkpoint-{n}" for n in (4, 6, 8)]


def test_a_new_run_does_not_write_into_the_folder_of_another(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, "align", trainer={"max_steps": 2})
    train(settings)
    with pytest.raises(ConfigError, match="an earlier run"):
        train(config(annotations, tmp_path, "align", resume=False))


def test_a_checkpoint_of_another_recipe_is_not_taken_up(annotations: Path, tmp_path: Path) -> None:
    train(config(annotations, tmp_path, "align", trainer={"max_steps": 2}))
    with pytest.raises(ConfigError, match="recipe: 'lora'"):
        train(config(annotations, tmp_path, "lora"))


# ---------------------------------------------------------------- settings of the Trainer


def test_a_misspelt_argument_of_the_trainer_names_the_nearest(annotations: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.learning_rate"):
        training_arguments(config(annotations, tmp_path, trainer={"learning_rat": 1e-4}))


def test_what_would_drop_the_rows_is_refused(annotations: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be changed"):
        training_arguments(config(annotations, tmp_path, trainer={"remove_unused_columns": True}))
