"""The pico host is trained on nothing that is held out, on targets that add up, and on true mirrors."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from train.pico import data as pico_data
from train.pico import host as pico_host
from train.pico.sampler import HANDED, ROOM, Sampler
from vega3d.rooms import make_chat_questions, make_questions, make_room, render, scene_seed
from vega3d.rooms.held_out import HELD_OUT_FAMILIES, family_is_held_out, room_is_held_out
from vega3d.rooms.scene import TEXTURES


def first_room(held_out: bool) -> tuple[int, Any]:
    """Index and room of the first training room that is held out, or that is not."""
    for index in range(50):
        room = make_room(scene_seed("train", 0, index))
        if room_is_held_out(room) == held_out:
            return index, room
    raise AssertionError("no such room among fifty")


def test_a_style_that_is_held_out_is_a_floor_or_a_wallpaper() -> None:
    _, strange = first_room(held_out=True)
    _, familiar = first_room(held_out=False)
    look = [{TEXTURES[room.floor.texture], TEXTURES[room.walls.texture]} for room in (strange, familiar)]
    assert look[0] & {"checker", "dots"}
    assert not look[1] & {"checker", "dots"}


def test_most_rooms_and_most_families_are_not_held_out() -> None:
    rooms = [make_room(scene_seed("test", 0, index)) for index in range(60)]
    assert 0.1 < np.mean([room_is_held_out(room) for room in rooms]) < 0.5
    clip = render(rooms[0], width=64, height=64)
    families = {q.question_type for q in make_questions(rooms[0], clip)}
    families |= {q.family for q in make_chat_questions(rooms[0], clip)}
    assert sum(map(family_is_held_out, families)) < len(families) / 2


def test_the_training_cache_takes_no_room_of_a_held_out_style() -> None:

    index, _ = first_room(held_out=True)
    assert pico_data.make_scene("train", index, resize=lambda frames: frames) is None


def test_the_training_cache_writes_down_no_question_of_a_held_out_family() -> None:

    _, room = first_room(held_out=False)
    clip = render(room, width=96, height=96)
    everything = {q.family for q in make_chat_questions(room, clip, per_family=6)}
    assert everything & set(HELD_OUT_FAMILIES)  # there is something to leave out
    assert not {kind for kind, _, _ in pico_data.asked(room, clip)} & set(HELD_OUT_FAMILIES)


def test_what_a_visual_token_shows_adds_up() -> None:

    _, room = first_room(held_out=False)
    clip = render(room, width=140, height=140, indices=[0, 6, 13, 20, 27, 34, 40, 47])
    target = pico_data.helper_targets(room, clip).astype(np.float64)
    kinds, colours = np.split(target[:, : pico_data.SHARES], [pico_data.KINDS_END], axis=1)
    assert np.allclose(kinds.sum(axis=1), 1, atol=2e-3)
    assert np.allclose(colours.sum(axis=1), 1 - kinds[:, 0], atol=2e-3)  # what is no shell has a colour
    shell = (clip.ids[:2, :28, :28] == 0).mean()  # the first token: two frames, the upper left corner
    assert abs(kinds[0, 0] - shell) < 1e-3


def test_a_mirrored_clip_is_asked_nothing_that_knows_left_from_right() -> None:

    rows = [("side", "side?", "left"), ("object_rel_direction_easy", "dir?", "A"), ("exists", "bed?", "yes")]
    sampler = Sampler(None, None, batch=1, questions=3, seed=[0])  # type: ignore[arg-type]
    assert [prompt for prompt, _ in sampler.pick(rows, 0.5, mirrored=True)] == ["bed?"]
    plain = Counter(prompt for prompt, _ in sampler.pick(rows, 0.5, mirrored=False))
    assert plain == {"side?": 1, "dir?": 1, "bed?": 1}
    assert "side" in HANDED


def test_a_mirrored_clip_has_mirrored_targets() -> None:

    rng = np.random.default_rng(0)
    shape = (1, pico_data.FRAMES_SEEN, 20, 20, 3)
    helpers = rng.normal(size=(1, pico_data.TOKENS, pico_data.HELPERS)).astype(np.float16)
    cache = SimpleNamespace(pixels=np.zeros(shape, np.uint8), helpers=helpers)
    sampler = Sampler(cache, None, batch=1, questions=3, seed=[0])  # type: ignore[arg-type]
    _, plain = sampler.clips(np.array([0]), np.array([False]))
    _, turned = sampler.clips(np.array([0]), np.array([True]))
    rows = plain.numpy().reshape(-1, pico_data.GRID, pico_data.HELPERS)
    back = turned.numpy().reshape(-1, pico_data.GRID, pico_data.HELPERS)[:, ::-1]
    assert np.array_equal(back[..., -3], -rows[..., -3])  # right became left
    assert np.array_equal(np.delete(back, -3, axis=-1), np.delete(rows, -3, axis=-1))


def test_questions_of_a_clip_never_exceed_their_room() -> None:

    def ids(text: str) -> list[int]:
        return [0] * len(text)

    sampler = Sampler(None, SimpleNamespace(ids=ids), batch=1, questions=9, seed=[0])  # type: ignore[arg-type]
    kept = sampler.fitting([("x" * 70, "y" * 5)] * 9)
    assert 0 < len(kept) < 9
    assert sum(len(ids(p + "<|im_end|>\n<|im_start|>assistant\n")) + len(ids(a)) for p, a in kept) <= ROOM


def test_a_token_near_its_words_costs_less_than_one_near_others() -> None:
    import torch

    torch.manual_seed(0)
    words = [*pico_data.CATEGORIES, *pico_data.COLOURS]
    table = torch.nn.Embedding(len(words), 64, _weight=torch.randn(len(words), 64))
    model = SimpleNamespace(model=SimpleNamespace(language_model=SimpleNamespace(embed_tokens=table)))
    loss = pico_host.Words(lambda text: SimpleNamespace(input_ids=[words.index(text.strip())])).loss
    target = torch.zeros(1, 1, pico_data.HELPERS)
    target[..., 1 + words.index("bed")] = 1.0
    target[..., 1 + words.index("red")] = 1.0
    near, far = (
        loss(model, (table.weight[words.index(a)] + table.weight[words.index(b)])[None, None], target)
        for a, b in (("bed", "red"), ("sofa", "blue"))
    )
    assert near < far


def test_measures_are_answered_coarsely_and_words_as_they_are() -> None:

    sampler = Sampler(None, None, batch=1, questions=1, seed=[0])  # type: ignore[arg-type]
    assert sampler.coarse("colour", "red") == "red"
    assert sampler.coarse("count", "3") == "3"
    assert sampler.coarse("distance", "0.0") == "0.0"
    sizes = {sampler.coarse("size", "97") for _ in range(50)}
    assert all(size.endswith("0") and 70 <= int(size) <= 130 for size in sizes)
    assert {sampler.coarse("distance", "2.0") for _ in range(50)} <= {"1.4", "2.0", "2.8"}
