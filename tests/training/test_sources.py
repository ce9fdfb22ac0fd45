"""The source of features, and the rest of a batch, change nothing but the speed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import config, row
from tests.training.test_trainer import losses, trainer_of
from vega3d.cli.main import main
from vega3d.errors import InputError, StoreError, Vega3DError
from vega3d.training.config import DataFile
from vega3d.training.dataset import load_rows, weighted
from vega3d.training.finetune import run

SETTINGS = ["--backbone", "pico", "--set", "block=1", "--set", "pixels=2304", "--nframes", "2"]


def logged(annotations: Path, out: Path, recipe: str = "lora", **changes: object) -> list[float]:
    settings = config(annotations, out, recipe, **changes)
    trainer = trainer_of(settings)
    run(trainer, settings)
    return losses(trainer)


@pytest.fixture(scope="module")
def store(annotations: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("store") / "features")
    assert main(["cache", "build", path, str(annotations), *SETTINGS, "--precision", "float32"]) == 0
    return path


@pytest.mark.parametrize("only", [False, True])
def test_stored_and_live_features_give_the_same_losses(
    only: bool, store: str, annotations: Path, tmp_path: Path
) -> None:
    live = logged(annotations, tmp_path / "live")
    assert logged(annotations, tmp_path / "stored", store={"path": store, "only": only}) == live


def test_without_a_generator_a_feature_that_is_not_stored_is_an_error(
    store: str, annotations: Path, tmp_path: Path
) -> None:
    other = {"nframes": 3}
    with pytest.raises(Vega3DError, match=r"store|generator|backbone"):
        logged(annotations, tmp_path, sampling=other, store={"path": store, "only": True})


def test_a_store_of_other_settings_is_refused(store: str, annotations: Path, tmp_path: Path) -> None:
    model = {"host": "pico", "backbone": {"path": "pico", "block": 2, "pixels": 2304}}
    with pytest.raises(StoreError):
        logged(annotations, tmp_path, model=model, store={"path": store})


def test_data_workers_change_no_loss(store: str, annotations: Path, tmp_path: Path) -> None:
    alone = logged(annotations, tmp_path / "a", store={"path": store})
    workers = {"dataloader_num_workers": 2}
    assert logged(annotations, tmp_path / "b", store={"path": store}, trainer=workers) == alone


@pytest.mark.parametrize("recipe", ["align", "lora", "full"])
def test_text_pictures_and_clips_train_in_one_batch(recipe: str, annotations: Path, tmp_path: Path) -> None:
    together = {"per_device_train_batch_size": 7, "max_steps": 3, "save_strategy": "no"}
    found = logged(annotations, tmp_path, recipe, trainer=together, new_modules_lr=1e-3)
    assert found[-1] < found[0]


def test_accumulated_small_batches_have_the_loss_of_a_large_one(annotations: Path, tmp_path: Path) -> None:
    still = {"max_steps": 1, "save_strategy": "no"}
    large = {**still, "per_device_train_batch_size": 6}
    small = {**still, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 3}
    lora = {"rank": 2, "dropout": 0.0}
    model = {"host": "pico", "dtype": "float32", "backbone": {"path": "pico", "block": 1, "pixels": 2304}}
    one = logged(annotations, tmp_path / "large", trainer=large, lora=lora, model=model)
    other = logged(annotations, tmp_path / "small", trainer=small, lora=lora, model=model)
    assert other == pytest.approx(one, rel=1e-4)


# ---------------------------------------------------------------- rows


@given(count=st.integers(1, 40), weight=st.floats(0.01, 4), seed=st.text(max_size=5))
def test_a_weight_says_how_often_an_epoch_sees_a_row(count: int, weight: float, seed: str) -> None:
    rows = list(range(count))
    found = weighted(rows, weight, seed)  # type: ignore[type-var,arg-type]
    times = Counter(found)
    assert abs(len(found) - weight * count) <= 0.5 + 1e-9
    assert all(int(weight) <= times[one] <= int(weight) + 1 for one in rows)
    assert weighted(rows, weight, seed) == found  # type: ignore[type-var,arg-type]


def test_files_are_sampled_each_in_its_own_way_and_a_row_in_the_way_it_states(tmp_path: Path) -> None:
    stated = {"type": "video", "video": "c.mp4", "fps": 1.0}
    own = {"messages": [{"role": "user", "content": [stated]}, {"role": "assistant", "content": "a"}]}
    for name, records in {
        "a": [row("<video>", "a", video="a.mp4"), own],
        "b": [row("<video>", "b", video="b.mp4")],
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(records))
    files = [DataFile(str(tmp_path / "a.json")), DataFile(str(tmp_path / "b.json"), sampling={"nframes": 4})]
    rows = load_rows(files, {"nframes": 2, "max_pixels": 784}, 0)
    entries = [one.messages[0]["content"][0] for one in rows]
    assert [entry.get("nframes") for entry in entries] == [2, None, 4]
    assert [entry["max_pixels"] for entry in entries] == [784] * 3


def test_a_row_that_cannot_be_read_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps([row("<image>", "a")]))
    with pytest.raises(InputError, match=r"bad\.json, row 0"):
        load_rows([DataFile(str(tmp_path / "bad.json"))], {}, 0)
