"""Settings of a run: what a file says is what is trained, and what nobody understands is refused."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d.errors import ConfigError
from vega3d.settings import apply_overrides
from vega3d.training.config import TrainConfig, load_config

TEXT = """
model:
  host: pico
  backbone: {path: pico, block: 1}
recipe: lora
lora: {rank: 8}
data:
  - file: a.jsonl
  - {file: b.jsonl, root: media, weight: 0.25, sampling: {nframes: 4}}
new_modules_lr: 1e-4
trainer: {learning_rate: 1e-5, max_steps: 3}
"""
RECORD: dict[str, Any] = {"model": {"host": "pico"}, "data": [{"file": "a.jsonl"}]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(TEXT)
    return path


def test_a_file_is_read_with_defaults_for_the_rest(file: Path) -> None:
    config = load_config(file)
    assert config.model.backbone == {"path": "pico", "block": 1}
    assert (config.lora.rank, config.lora.alpha, config.overlong) == (8, 64, "error")
    assert [one.weight for one in config.data] == [1.0, 0.25]


def test_an_exponent_without_a_point_is_a_number(file: Path) -> None:
    config = load_config(file, ["trainer.weight_decay=2E-3"])
    assert (config.new_modules_lr, config.trainer["learning_rate"]) == (1e-4, 1e-5)
    assert config.trainer["weight_decay"] == 2e-3


def test_overrides_reach_every_level_and_into_lists(file: Path) -> None:
    changes = [
        "lora.rank=4",
        "data.1.root=elsewhere",
        "trainer.bf16=true",
        "store.path=features",
        "max_length=99",
    ]
    config = load_config(file, changes)
    assert (config.lora.rank, config.data[1].root, config.store.path) == (4, "elsewhere", "features")
    assert config.trainer == {"learning_rate": 1e-5, "max_steps": 3, "bf16": True}
    assert config.max_length == 99


def test_what_is_written_down_reads_back(file: Path) -> None:
    config = load_config(file)
    assert TrainConfig.from_dict(config.to_dict()) == config


NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)


@given(path=st.lists(NAMES, min_size=1, max_size=4), value=st.integers() | st.booleans() | NAMES)
def test_an_override_sets_its_place_and_nothing_else(path: list[str], value: Any) -> None:
    before: dict[str, Any] = {"UPPER": {"x": [1, 2]}}
    text = {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else value
    text = f"'{text}'" if isinstance(text, str) and not isinstance(value, bool) else text
    found: Any = apply_overrides(before, [f"{'.'.join(path)}={text}"])
    assert found.pop("UPPER") == {"x": [1, 2]}
    for key in path:
        assert list(found) == [key]
        found = found[key]
    assert found == value
    assert before == {"UPPER": {"x": [1, 2]}}


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"recipy": "lora"}, "did you mean 'recipe'"),
        ({"lora": {"rnak": 8}}, "did you mean 'lora.rank'"),
        ({"data": [{"file": "a", "wieght": 2}]}, "did you mean 'data.0.weight'"),
        ({"recipe": "lorra"}, "did you mean 'lora'"),
        ({"lora": {"rank": "big"}}, "Invalid value for 'lora.rank'"),
        ({"lora": {"rank": True}}, "Invalid value for 'lora.rank'"),
        ({"lora": {"rank": 0}}, "Invalid LoRA settings in 'lora'"),
        ({"model": {}}, "Missing model in 'model'"),
        ({"model": {"checkpoint": "x", "fusion": "paper"}}, "Invalid fusion"),
        ({"data": []}, "Missing rows"),
        ({"data": [{"root": "a"}]}, "Invalid source in 'data.0'"),
        ({"data": [{"file": "a", "weight": 0}]}, "Invalid weight in 'data.0'"),
        ({"data": [{"file": "a", "weight": "25"}]}, "Invalid weight in 'data.0'"),
        ({"data": [{"file": "a", "dataset": "b"}]}, "Invalid source in 'data.0'"),
        ({"data": [{"file": "a", "share": "30%"}, {"file": "b"}]}, "Invalid shares of data"),
        ({"data": [{"file": "a", "share": "30%"}, {"file": "b", "share": 0.3}]}, "Invalid shares of data"),
        ({"data": [{"file": "a", "group_by": "pair", "weight": 0.5}]}, "Invalid group_by in 'data.0"),
        ({"data": [{"file": "a", "group_by": "pair", "share": "50%"}]}, "Invalid group_by in 'data.0"),
        ({"data": [{"dataset": "a", "group_by": "pair", "streaming": True}]}, "Invalid group_by in 'data.0"),
        ({"data": [{"file": "a", "group_by": "pair"}], "batch_by": "length"}, "groups decide the batches"),
        ({"epoch_rows": 10}, "Invalid epoch_rows"),
        ({"batch_by": "lenght"}, "did you mean 'length'"),
        ({"store": {"only": True}}, "Missing features in 'store'"),
        ({"store": "features"}, "Invalid value for 'store'"),
        ({"new_modules_lr": "fast"}, "Invalid value for 'new_modules_lr'"),
    ],
)
def test_a_setting_that_makes_no_sense_names_itself(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_dict(RECORD | changes)


@pytest.mark.parametrize("override", ["lora.rank", "=3", "a..b=3", "data.7.root=x", "recipe.x=1", "x=[1"])
def test_an_override_without_a_place_names_itself(override: str, file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file, [override])
    assert override in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system [true]",
        "a: 1\na: 2",
        "a: {b: 1, b: 2}",
        "- 1",
        "a: [1",
        "just words",
    ],
)
def test_a_file_that_is_no_plain_yaml_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"bad\.yaml"):
        load_config(tmp_path / "bad.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_all_faults_of_a_record_are_listed_in_one_error() -> None:
    changes = {"recipy": "lora", "lora": {"rank": "big", "alhpa": 8}, "store": {"only": True}}
    with pytest.raises(ConfigError) as caught:
        TrainConfig.from_dict(RECORD | changes)
    for words in ("did you mean 'recipe'", "'lora.rank'", "did you mean 'lora.alpha'", "Missing features"):
        assert words in str(caught.value)


def test_the_entry_with_the_fault_is_named() -> None:
    with pytest.raises(ConfigError, match=r"data\.1"):
        TrainConfig.from_dict(RECORD | {"data": [{"file": "a"}, {"file": "b", "share": "0%"}]})
