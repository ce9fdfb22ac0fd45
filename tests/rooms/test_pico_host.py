"""The shipped pico host is what its card says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.pico import ask as pico_ask
from train.pico import score as pico_score
from vega3d.pico import pico_path


def test_the_host_is_as_small_as_promised() -> None:
    from safetensors import safe_open

    folder = pico_path("host")
    shards = sorted(folder.glob("*.safetensors"))
    numbers = 0
    for shard in shards:
        assert shard.stat().st_size <= 4 * 2**20
        with safe_open(str(shard), framework="np") as file:
            names = list(file.keys())
            numbers += sum(int(np.prod(file.get_slice(name).get_shape())) for name in names)
    assert numbers <= 7_300_000
    assert sum(file.stat().st_size for file in folder.iterdir()) < 15_000_000
    words = json.loads((folder / "tokenizer.json").read_text())
    assert len(words["model"]["vocab"]) + len(words["added_tokens"]) < 4000


def measured_again(rooms: int, run: int, folder: Path) -> tuple[int, float, float, float]:
    """Questions, their mean score, what the card makes of the same questions, and the standard error."""

    card = json.loads((pico_path("host") / "results.json").read_text())["types"]
    seeds = pico_ask.rooms_of(run, rooms, held_out_style=False)
    said = [s for s in pico_ask.ask_all(pico_path("host"), seeds, folder) if s[1] in card]
    scores = np.array([pico_score.score(kind, text, truth) for _, kind, _, truth, text in said])
    stated = np.array([card[kind]["score"] for _, kind, _, _, _ in said])
    own = (scores - stated).std(ddof=1) ** 2 / len(said)
    of_card = np.mean([card[kind]["se"] ** 2 for _, kind, _, _, _ in said]) / len(card)
    return len(said), float(scores.mean()), float(stated.mean()), float(own + of_card) ** 0.5


def test_on_two_hundred_new_questions_the_host_is_as_right_as_its_card_says(tmp_path: Path) -> None:
    """Rooms of another run seed than the card's, through mp4, the stock processor and `generate`."""
    count, score, stated, error = measured_again(rooms=10, run=1, folder=tmp_path)
    assert count >= 200
    assert abs(score - stated) < 2.5 * error


@pytest.mark.full
def test_on_a_thousand_new_questions_the_host_is_as_right_as_its_card_says(tmp_path: Path) -> None:
    count, score, stated, error = measured_again(rooms=50, run=2, folder=tmp_path)
    assert count >= 1000
    assert abs(score - stated) < 2.5 * error


def test_the_card_is_above_whoever_sees_no_video() -> None:
    """Over all families, and in each that the card prints in bold, by two standard errors."""
    card = json.loads((pico_path("host") / "results.json").read_text())
    mean = card["overall"]
    assert mean["model"] - mean["blind"] > 2 * mean["se"]
    text = (pico_path("host") / "README.md").read_text()
    for row in card["types"].values():
        best = max(row["frequency"], row["text"], row["chance"] or 0.0)
        assert row["above_blind"] == (row["score"] - best > 2 * row["se"])
        assert (f"**{100 * row['score']:.1f}** ±" in text) or not row["above_blind"]
