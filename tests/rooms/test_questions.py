from __future__ import annotations

import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from tests.rooms.surface import closest, sample
from vega3d.geometry import backproject, contains
from vega3d.rooms import Clip, Room, make_chat_questions, make_questions, make_room, render
from vega3d.rooms.chat_questions import ChatQuestion
from vega3d.rooms.facts import SEEN
from vega3d.rooms.questions import QUESTION_TYPES, Question
from vega3d.rooms.scene import Instance

Filmed = list[tuple[Room, Clip]]


@pytest.fixture(scope="module")
def asked() -> list[tuple[Room, Clip, list[Question]]]:
    rooms = [make_room(seed) for seed in range(100, 140)]
    clips = [render(room, width=64, height=64, frames=24) for room in rooms]
    return [(r, c, make_questions(r, c, per_type=3)) for r, c in zip(rooms, clips, strict=True)]


def of_type(asked: list, kind: str) -> list[tuple[Room, Clip, Question]]:
    found = [(r, c, q) for r, c, qs in asked for q in qs if q.question_type.startswith(kind)]
    assert len(found) >= 20, f"too few questions of {kind} to judge"
    return found


def said(question: Question) -> str:
    """The text of the right option, or the number."""
    if question.options is None:
        return question.ground_truth
    option = question.options["ABCD".index(question.ground_truth)]
    assert option.startswith(question.ground_truth + ". ")
    return option[3:]


def one(room: Room, category: str) -> Instance:
    (thing,) = [t for t in room.instances if t.category == category]
    return thing


def test_every_type_is_asked(asked: list) -> None:
    assert {q.question_type for _, _, qs in asked for q in qs} == set(QUESTION_TYPES)


def test_records_have_the_seven_fields_of_vsi_bench_and_are_json(asked: list) -> None:
    for _, _, questions in asked:
        for question in questions:
            record = json.loads(json.dumps(question.to_record()))
            assert list(record) == [
                "id", "dataset", "scene_name", "question_type", "question", "options", "ground_truth",
            ]  # fmt: skip
            assert isinstance(record["id"], int)
            assert record["options"] is None or isinstance(record["options"], list)
            assert isinstance(record["ground_truth"], str)


def test_the_prompt_is_vsi_benchs() -> None:
    numeric = Question(0, "rooms", "r", "object_counting", "How many chair(s) are in this room?", None, "2")
    assert numeric.prompt() == (
        "These are frames of a video.\nHow many chair(s) are in this room?\n"
        "Please answer the question using a single word or phrase."
    )
    choice = Question(0, "rooms", "r", "object_rel_distance", "Which?", ("A. bed", "B. tv"), "A")
    assert choice.prompt() == (
        "These are frames of a video.\nWhich?\nOptions:\nA. bed\nB. tv\n"
        "Answer with the option's letter from the given choices directly."
    )


def test_the_same_room_asks_the_same_questions(filmed: Filmed) -> None:
    room, clip = filmed[0]
    assert make_questions(room, clip) == make_questions(room, clip)


def test_questions_name_only_categories_that_the_clip_shows(asked: list) -> None:
    for room, clip, questions in asked:
        shown = {t.category for t in room.instances if (clip.ids == t.id).any(axis=0).any()}
        for q in questions:
            words = set(re.findall(r"[a-z]+", q.question))
            assert {t.category for t in room.instances if t.category in words} <= shown


def test_counts_are_those_of_the_scene(asked: list) -> None:
    for room, _, q in of_type(asked, "object_counting"):
        name = re.search(r"How many (\w+)\(s\)", q.question).group(1)
        assert int(q.ground_truth) == sum(t.category == name for t in room.instances)


def test_distances_are_those_of_points_sampled_on_the_surfaces(asked: list) -> None:
    for room, _, q in of_type(asked, "object_abs_distance")[::16]:
        a, b = re.search(r"between the (\w+) and the (\w+)", q.question).groups()
        brute = closest(sample(one(room, a)), sample(one(room, b)))
        assert abs(float(q.ground_truth) - brute) <= 0.05 + 0.03  # rounding, and the spacing of samples


def test_sizes_are_the_longest_extent_of_sampled_points_in_the_axes_of_the_box(asked: list) -> None:
    for room, _, q in of_type(asked, "object_size_estimation")[:40]:
        thing = one(room, re.search(r"of the (\w+), measured", q.question).group(1))
        points = sample(thing)
        c, s = np.cos(thing.box.yaw), np.sin(thing.box.yaw)
        along = np.stack(
            [points[:, 0] * c + points[:, 1] * s, points[:, 1] * c - points[:, 0] * s, points[:, 2]]
        )
        assert abs(int(q.ground_truth) - 100 * np.ptp(along, axis=1).max()) <= 1.5


def test_room_sizes_are_those_of_the_walls_that_the_depth_shows(asked: list) -> None:
    """The floor's extent in back-projected pixels of the shell; equal wherever all four walls are in view."""
    whole = 0
    for _, clip, q in of_type(asked, "room_size_estimation"):
        frames = zip(clip.depth[::3], clip.poses[::3], clip.ids[::3], strict=True)
        shell = np.concatenate([backproject(d, clip.K, pose)[ids == 0] for d, pose, ids in frames])
        seen = np.prod(np.ptp(shell[:, :2], axis=0))
        assert seen <= float(q.ground_truth) + 0.06
        whole += seen > float(q.ground_truth) - 0.06
    assert whole > 15


def test_the_closest_option_is_closest_by_sampled_points(asked: list) -> None:
    for room, _, q in of_type(asked, "object_rel_distance")[::10]:
        target = sample(one(room, re.search(r"closest to the (\w+)\?", q.question).group(1)), 0.08)
        metres = {o[3:]: closest(sample(one(room, o[3:]), 0.06), target) for o in q.options}
        assert min(metres, key=metres.get) == said(q)


def test_directions_agree_with_a_plan_drawn_in_the_axes_of_the_one_who_stands(asked: list) -> None:
    for room, _, q in of_type(asked, "object_rel_direction"):
        text = r"standing by the (\w+) and facing the (\w+), is the (\w+) to"
        middles = [sample(one(room, n)) for n in re.search(text, q.question).groups()]
        here, ahead, there = ((m.max(0) + m.min(0))[:2] / 2 for m in middles)
        forward = (ahead - here) / np.linalg.norm(ahead - here)
        y = (there - here) @ forward
        x = (there - here) @ np.array([forward[1], -forward[0]])  # to the right
        side = "right" if x > 0 else "left"
        if q.question_type.endswith("hard"):
            expected = f"{'front' if y > 0 else 'back'}-{side}"
        elif q.question_type.endswith("medium"):
            expected = "back" if np.degrees(np.arctan2(abs(x), y)) > 135 else side
        else:
            expected = side
        assert said(q) == expected


def test_routes_lead_where_they_say_when_walked_turn_by_turn(asked: list) -> None:
    """A robot that only knows its heading: each turn must point it at the next stop, within 45 degrees."""
    for room, _, q in of_type(asked, "route_planning"):
        start, first = re.search(r"beginning at the (\w+) and facing the (\w+)\.", q.question).groups()
        stops = re.findall(r"Go forward until the (\w+)", q.question)
        assert stops[0] == first
        assert stops[-1] == re.search(r"navigate to the (\w+)\.", q.question).group(1)
        clouds = [sample(one(room, name), 0.08) for name in (start, *stops)]
        spots = [(cloud.max(0) + cloud.min(0))[:2] / 2 for cloud in clouds]
        turns = said(q).split(", ")
        assert len(turns) == len(stops) - 1 == q.question.count("[please fill in]") - 1
        for word, (a, b, c) in zip(turns, zip(spots, spots[1:], spots[2:], strict=False), strict=True):
            heading = complex(*(b - a)) * {"Turn Left": 1j, "Turn Right": -1j, "Turn Back": -1}[word]
            off = np.degrees(np.angle(complex(*(c - b)) / heading))
            assert abs(off) < 45


def test_routes_meet_nothing_on_the_way(asked: list) -> None:
    for room, _, q in of_type(asked, "route_planning")[::4]:
        start = re.search(r"beginning at the (\w+)", q.question).group(1)
        names = [start, *re.findall(r"Go forward until the (\w+)", q.question)]
        for a, b in pairwise([one(room, name) for name in names]):
            ends = {a.id, b.id, a.parent, b.parent}
            way = np.linspace(a.box.centre[:2], b.box.centre[:2], 200)
            for thing in room.instances:
                if thing.id not in ends and thing.parent == 0 and thing.box.z_range[0] < 1:
                    high = np.c_[way, np.full(len(way), thing.box.centre[2])]
                    assert thing.box.z_range[1] < 0.3 or not contains(thing.box, high).any()


def test_appearance_orders_are_those_in_which_ids_enter_the_frames(asked: list) -> None:
    for room, clip, q in of_type(asked, "obj_appearance_order"):
        order = said(q).split(", ")
        pixels = clip.ids[0].size
        firsts = []
        for name in order:
            cover = sum((clip.ids == t.id).sum((1, 2)) / pixels for t in room.by_category[name])
            firsts.append(int(np.flatnonzero(np.asarray(cover) >= SEEN)[0]))
        assert firsts == sorted(firsts)
        assert len(set(firsts)) == 4


def test_options_are_distinct_and_hold_exactly_one_right_answer(asked: list) -> None:
    for _, _, questions in asked:
        for q in questions:
            if q.options is not None:
                assert len({o[3:] for o in q.options}) == len(q.options)
                assert [o[:3] for o in q.options] == [f"{letter}. " for letter in "ABCD"[: len(q.options)]]


def test_right_letters_are_balanced(asked: list) -> None:
    letters = Counter(
        (len(q.options), q.ground_truth) for _, _, qs in asked for q in qs if q.options is not None
    )
    for n in (2, 3, 4):
        counts = [letters[n, letter] for letter in "ABCD"[:n]]
        share = max(counts) / sum(counts)
        assert share < 1 / n + 0.1


def test_counts_and_directions_are_balanced(asked: list) -> None:
    counts = Counter(q.ground_truth for _, _, qs in asked for q in qs if q.question_type == "object_counting")
    assert set(counts) == {"1", "2", "3", "4", "5"}
    assert max(counts.values()) / counts.total() < 0.4
    for kind in ("easy", "hard"):
        words = Counter(said(q) for _, _, q in of_type(asked, f"object_rel_direction_{kind}"))
        assert max(words.values()) / words.total() < (0.62 if kind == "easy" else 0.45)


def test_plain_questions_have_short_true_answers(filmed: Filmed) -> None:
    for room, clip in filmed:
        for q in make_chat_questions(room, clip, per_family=5):
            names = [n for n in re.findall(r"[a-z]+", q.question) if n in room.by_category]
            if q.family == "colour":
                assert q.answer == one(room, names[0]).colour
            if q.family == "exists":
                assert q.answer == ("yes" if names else "no")
            if q.family in ("closer", "first"):
                assert q.answer in names
            if q.family == "side":
                assert q.answer in ("left", "right")
            assert isinstance(q, ChatQuestion)
            assert len(q.answer.split()) <= 30


def test_another_draw_asks_other_plain_questions(filmed: Filmed) -> None:
    room, clip = filmed[0]
    assert make_chat_questions(room, clip, draw=0) != make_chat_questions(room, clip, draw=1)
