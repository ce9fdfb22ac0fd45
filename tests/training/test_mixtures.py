"""Mixtures: an epoch holds what weights and shares say, from files, tables and streams."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import config, row
from tests.training.test_trainer import losses, trainer_of
from vega3d.data.annotations import row_of
from vega3d.errors import ConfigError
from vega3d.training.config import DataFile
from vega3d.training.dataset import how_often, load_rows, weighted
from vega3d.training.finetune import run
from vega3d.training.sampler import GroupedSampler, length_of


def file_of(folder: Path, name: str, count: int) -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row(f"{name} {at}?", str(at))) + "\n" for at in range(count)))
    return str(file)


def names(rows: Any) -> Counter[str]:
    return Counter(one.where.split(".")[0] for one in rows)


@given(
    counts=st.lists(st.integers(1, 200), min_size=1, max_size=5),
    parts=st.lists(st.integers(1, 100), min_size=5, max_size=5),
    total=st.integers(1, 500),
)
def test_shares_divide_an_epoch_up(counts: list[int], parts: list[int], total: int) -> None:
    whole = sum(parts[: len(counts)])
    files = [DataFile("a", share=part / whole) for part in parts[: len(counts)]]
    times = how_often(files, counts, total)
    found = [len(weighted(range(count), often, "")) for count, often in zip(counts, times, strict=True)]
    for number, part in zip(found, parts, strict=False):
        assert abs(number - total * part / whole) <= 0.5 + 1e-6


def test_a_percentage_is_a_number(tmp_path: Path) -> None:
    files = [DataFile(file_of(tmp_path, "a", 40), weight="25%"), DataFile(file_of(tmp_path, "b", 10))]
    assert names(load_rows(files, {}, 0)) == {"a": 10, "b": 10}
    shared = [DataFile(files[0].file, share="80%"), DataFile(files[1].file, share="20%")]
    assert names(load_rows(shared, {}, 0, epoch_rows=20)) == {"a": 16, "b": 4}


def test_tables_and_files_stand_in_one_epoch(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    file_of(tmp_path / "table", "rows", 6)
    files = [DataFile(dataset=str(tmp_path / "table")), DataFile(file_of(tmp_path, "a", 4), weight=0.5)]
    rows = load_rows(files, {"nframes": 2}, 0)
    assert len(rows) == len(list(rows)) == 8
    assert names(rows)["a"] == 2


@pytest.mark.parametrize("streaming", [False, True])
def test_a_table_and_a_stream_train(streaming: bool, tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    file_of(tmp_path / "table", "rows", 6)
    data = [{"dataset": str(tmp_path / "table"), "streaming": streaming}]
    settings = config(tmp_path, tmp_path / "out", "lora", data=data, trainer={"max_steps": 4})
    trainer = trainer_of(settings)
    run(trainer, settings)
    assert len(losses(trainer)) == 4


def test_a_stream_without_a_number_of_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "table").mkdir()
    file_of(tmp_path / "table", "rows", 6)
    data = [{"dataset": str(tmp_path / "table"), "streaming": True}]
    with pytest.raises(ConfigError, match="max_steps"):
        trainer_of(config(tmp_path, tmp_path / "out", data=data, trainer={"max_steps": -1}))


# ---------------------------------------------------------------- batches by length

LENGTHS = st.lists(st.integers(1, 1000), min_size=1, max_size=120)


@given(lengths=LENGTHS, block=st.integers(1, 6), seed=st.integers(0, 9))
def test_batches_by_length_hold_every_row_once_and_waste_no_more(
    lengths: list[int], block: int, seed: int
) -> None:
    def padding(order: list[int]) -> int:
        blocks = [order[at : at + block] for at in range(0, len(order), block)]
        return sum(max(lengths[row] for row in one) * len(one) for one in blocks) - sum(lengths)

    kinds = [()] * len(lengths)
    sorted_ones = list(GroupedSampler(kinds, block, seed, lengths, fill=False))
    shuffled = list(GroupedSampler(kinds, block, seed, fill=False))
    assert sorted(sorted_ones) == sorted(shuffled) == list(range(len(lengths)))
    if len(lengths) % block == 0:
        assert padding(sorted_ones) <= padding(shuffled)


def test_longer_texts_and_more_media_are_guessed_to_be_longer() -> None:
    def guess(text: str, *content: dict[str, Any], **defaults: Any) -> float:
        return length_of(
            row_of([{"role": "user", "content": [*content, {"type": "text", "text": text}]}], "", defaults)
        )

    picture = {"type": "image", "image": "a.png"}
    assert guess("a" * 8) < guess("a" * 80) < guess("a", picture) < guess("a", picture, picture)
    video = {"type": "video", "video": "a.mp4"}
    assert guess("a", video, nframes=4) < guess("a", video, nframes=8)


def test_a_run_with_batches_by_length_trains(annotations: Path, tmp_path: Path) -> None:
    settings = config(annotations, tmp_path, batch_by="length", trainer={"save_strategy": "no"})
    trainer = trainer_of(settings)
    run(trainer, settings)
    assert len(losses(trainer)) == 6
