"""Figures logged beside the loss: speed, and whether the branch is used at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from tests.training.conftest import config
from tests.training.test_trainer import trainer_of
from vega3d.fusion import FusionContext
from vega3d.training.finetune import run
from vega3d.training.metrics import SpeedMetrics, TrainFlops, exchanged
from vega3d.training.trained import adapter_of

CPU = torch.device("cpu")


def batch(rows: int, length: int, padding: int = 0) -> dict[str, torch.Tensor]:
    mask = torch.ones(rows, length, dtype=torch.long)
    mask[:, length - padding :] = 0
    return {"input_ids": torch.zeros(rows, length, dtype=torch.long), "attention_mask": mask}


def test_rates_are_what_was_seen_since_the_last_reading() -> None:
    now = [0.0]
    speed = SpeedMetrics(lambda: now[0])
    speed.add(batch(2, 10, padding=3), 4e12)
    speed.wait(1.0)
    now[0] = 4.0
    found = speed.read(CPU, lambda own: own)
    assert found["speed/tokens_per_second"] == 14 / 4
    assert found["speed/samples_per_second"] == 0.5
    assert found["speed/tflops"] == 1.0
    assert found["speed/waiting_for_data"] == 0.25
    now[0] = 5.0
    assert speed.read(CPU, lambda own: own)["speed/tokens_per_second"] == 0


def test_processes_add_up_and_the_largest_memory_counts() -> None:
    now = [0.0]
    speed = SpeedMetrics(lambda: now[0])
    speed.add(batch(1, 8), 1e12)
    speed.wait(1.0)
    now[0] = 2.0
    other = torch.tensor([[6.0, 0.5, 1e12, 0.0, 2.0**50]], dtype=torch.float64)
    found = speed.read(CPU, lambda own: torch.cat([own, other]))
    assert found["speed/tokens_per_second"] == 4 + 6
    assert found["speed/waiting_for_data"] == 0.25  # the mean of a half and nothing
    assert found["speed/peak_memory_gib"] == 2.0**20


@pytest.mark.parametrize("recipe", ["lora", "full"])
def test_operations_are_the_products_that_torch_counts(
    recipe: str, annotations: Path, tmp_path: Path
) -> None:
    model = {"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}}
    trainer = trainer_of(config(annotations, tmp_path, recipe, model=model, lora={"rank": 1}))
    adapter = adapter_of(trainer.model)
    ours = trainer.data_collator(trainer.train_dataset[5:6])  # words alone: no generator in the count
    with FlopCounterMode(display=False) as counter:
        trainer.model(**ours).loss.backward()
    counted = counter.get_flop_counts()["Global"]
    products = sum(count for name, count in counted.items() if str(name) in ("aten.mm", "aten.addmm"))
    new = 6 * sum(p.numel() for p in adapter.projector.parameters())  # of the zero term: one token
    assert TrainFlops(adapter)(ours) == pytest.approx(products - new, rel=0.06)


def test_speed_is_logged_beside_each_loss(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, "align", trainer={"save_strategy": "no", "max_steps": 2})
    trainer = trainer_of(settings)
    run(trainer, settings)
    for entry in (one for one in trainer.state.log_history if "loss" in one):
        assert entry["speed/tokens_per_second"] > entry["speed/samples_per_second"] > 0
        assert 0 <= entry["speed/waiting_for_data"] <= 1
        assert entry["speed/peak_memory_gib"] > 0
        assert entry["speed/tflops"] > 0
    assert trainer.state.total_flos > 0


# ---------------------------------------------------------------- evaluation and swapped features


@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=5), before=st.integers(0, 9))
def test_no_medium_keeps_its_own_features(lengths: list[int], before: int) -> None:
    owners = torch.cat([torch.full((length, 1), float(at)) for at, length in enumerate(lengths)])
    others = torch.full((before, 1), -1.0) if before else None
    found = exchanged(owners, FusionContext(tuple(lengths), ()), others)
    if len(lengths) == 1 and others is None:
        assert found is None
    else:
        assert found is not None
        assert found.shape == owners.shape
        assert bool((found != owners).all())


def evaluated(annotations: Path, out: Path, **changes: Any) -> Any:
    trainer = {"eval_strategy": "steps", "eval_steps": 3, "per_device_eval_batch_size": 2}
    trainer |= {"save_strategy": "no", **changes.pop("trainer", {})}
    settings = config(
        annotations, out, "align", eval_data=[{"file": str(annotations)}], trainer=trainer, **changes
    )
    made = trainer_of(settings)
    run(made, settings)
    return made


def test_an_evaluation_says_what_swapped_features_cost(annotations: Path, tmp_path: Path) -> None:
    made = evaluated(annotations, tmp_path)
    found = [entry for entry in made.state.log_history if "eval_loss" in entry]
    assert len(found) == 2
    assert all(entry["eval_loss_swapped"] != entry["eval_loss"] for entry in found)


def test_a_branch_that_is_not_heard_loses_nothing_by_swapping(annotations: Path, tmp_path: Path) -> None:
    made = evaluated(annotations, tmp_path, trainer={"learning_rate": 0.0}, new_modules_lr=0.0)
    found = [entry for entry in made.state.log_history if "eval_loss" in entry]
    assert all(entry["eval_loss_swapped"] == pytest.approx(entry["eval_loss"], abs=1e-6) for entry in found)


def test_an_evaluation_changes_nothing_that_is_trained(annotations: Path, tmp_path: Path) -> None:
    made = evaluated(annotations, tmp_path / "a")
    settings = config(annotations, tmp_path / "b", "align", trainer={"save_strategy": "no"})
    plain = trainer_of(settings)
    run(plain, settings)
    pairs = zip(made.model.named_parameters(), plain.model.named_parameters(), strict=True)
    assert all(torch.equal(one, other) for (_, one), (_, other) in pairs)
