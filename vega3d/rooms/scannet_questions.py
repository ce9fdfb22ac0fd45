"""Annotations of one room in the raw forms of ScanRefer, Multi3DRefer, ScanQA and SQA3D.

Decision: object ids are instance ids - 1 (ScanNet counts from 0). Only things that the frames show may be
targets; descriptions are judged against the whole room. Wordings are templates; meanings are exact
(references.py, situated_questions.py). The processed forms that models train on are in formats/records.py.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from vega3d.rooms.facts import Visibility
from vega3d.rooms.furniture import CATEGORIES, KINDS, MATERIALS, plural
from vega3d.rooms.references import WORDS, Reference, article, references, sayable_material
from vega3d.rooms.rng import Rng
from vega3d.rooms.scene import Instance, grouped
from vega3d.rooms.situated_questions import situated_questions

Row = dict[str, Any]


def scanrefer(rng: Rng, visible: Visibility, scene: str, most: int = 3) -> list[Row]:
    """At most ``most`` descriptions of every thing that is shown; each means that thing alone."""
    rows = []
    for thing in visible.shown.values():
        texts = dict.fromkeys(ref.sentence(rng) for ref in references(visible, rng, thing))
        rows += [
            {
                "scene_id": scene,
                "object_id": str(thing.id - 1),
                "object_name": thing.category,
                "ann_id": str(number),
                "description": text,
                "token": text.replace(".", " .").split(),
            }
            for number, text in enumerate(list(texts)[:most])
        ]
    return rows


def multi3drefer(rng: Rng, visible: Visibility, scene: str, most: int = 4) -> list[Row]:
    """At most ``most`` descriptions of one thing and of several, and as many like each of them of nothing.

    A description of nothing is one of something with a word changed: its form gives nothing away.
    """
    rows: list[Row] = []
    single = [(ref, [t]) for t in visible.shown.values() for ref in list(references(visible, rng, t))[:2]]
    for kind, refs in (("st", single), ("mt", _several(rng, visible))):
        for ref, things in rng.some(refs, most):
            number = len(things)
            rows.append(_description(rng, visible, kind, ref, things, number))
            changed = _changed(rng, visible, rng.pick(refs)[0])
            if changed is not None:
                rows.append(_description(rng, visible, "zt", changed, [], 1 if kind == "st" else number))
    return [{"scene_id": scene, **row, "ann_id": number} for number, row in enumerate(rows)]


def _description(
    rng: Rng, visible: Visibility, kind: str, ref: Reference, things: list[Instance], number: int
) -> Row:
    """One row; ``number`` is how many things the words seem to mean."""
    distractors = [t for t in visible.room.by_category.get(ref.category, []) if t not in things]
    tail = "" if kind == "mt" else "_w_d" if distractors else "_wo_d"
    return {
        "object_ids": [t.id - 1 for t in things],
        "object_name": ref.category,
        "ann_id": 0,
        "eval_type": kind + tail,
        "description": ref.sentence(rng) if number == 1 else ref.phrase(rng, number),
        "spatial": ref.relation is not None,
        "color": ref.colour is not None,
        "texture": ref.material is not None,
        "shape": ref.relation in ("largest", "smallest"),
    }


def scanqa(rng: Rng, visible: Visibility, scene: str, split: str, most: int = 3) -> list[Row]:
    """At most ``most`` questions of each family; all accepted answers, the plainest first."""
    rows: list[Row] = []
    for family in (_ask_colour, _ask_count, _ask_where, _ask_what_on, _ask_exists, _ask_closer):
        for question, answers, things in rng.some(family(rng, visible), most):
            row = {
                "scene_id": scene,
                "object_ids": [t.id - 1 for t in things],
                "object_names": [t.category for t in things],
                "question_id": f"{split}-{scene}-{len(rows)}",
                "question": question,
                "answers": answers,
            }
            rows.append(row)
    return rows


def sqa3d(rng: Rng, visible: Visibility, scene: str, first_id: int, most: int = 8) -> list[tuple[Row, Row]]:
    """(question, annotation) pairs, joined by ``question_id``; positions in the axis-aligned frame."""
    pairs = []
    for number, (situation, asked, answer) in enumerate(situated_questions(rng, visible, most)):
        text, *others = rng.some(situation.texts)
        half, ids = situation.heading / 2, {"question_id": first_id + number, "scene_id": scene}
        question = {**ids, "situation": text, "alternative_situation": others, "question": asked}
        annotation = {
            **ids,
            "answers": [{"answer": answer, "answer_confidence": "yes", "answer_id": 1}],
            "answer_type": "other",
            "position": {"x": situation.place[0], "y": situation.place[1], "z": 0},
            "rotation": {"_x": 0, "_y": 0, "_z": round(math.sin(half), 9), "_w": round(math.cos(half), 9)},
            "question_type": "N/A",
        }
        pairs.append((question, annotation))
    return pairs


Meant = list[tuple[Reference, list[Instance]]]
Asked = list[tuple[str, list[str], list[Instance]]]


def _several(rng: Rng, visible: Visibility) -> Meant:
    """Two and more of a category, all shown, by looks or by what they stand on or next to."""
    matches: Meant = []
    for name, things in visible.room.by_category.items():
        looks = {(None, None)} | {(t.colour, m) for t in things for m in (None, sayable_material(t))}
        refs = [Reference(name, colour, material) for colour, material in sorted(looks, key=str)]
        refs += [Reference(name, relation="near", anchor=a) for a in rng.some(visible.unique, 4) if a != name]
        refs += [Reference(name, relation="on", anchor=a) for a in visible.unique if a != name]
        meant = [(ref, ref.matching(visible) or []) for ref in refs]
        matches += [(ref, group) for ref, group in meant if len(group) > 1 and visible.shows(group)]
    return matches


def _changed(rng: Rng, visible: Visibility, ref: Reference) -> Reference | None:
    """The reference with one word changed so that it means nothing; None where no change does that."""
    ways = []
    kind = KINDS[ref.category]
    if ref.colour is not None:
        ways += [replace(ref, colour=c) for c in rng.some(kind.colours)]
    if ref.material is not None:
        textured = [m for m in kind.materials if MATERIALS[m][2] >= 0.1]
        ways += [replace(ref, material=m) for m in rng.some(textured)]
    if ref.anchor is not None:
        ways += [replace(ref, anchor=a) for a in rng.some(visible.unique, 4) if a != ref.category]
    absent = [n for n in CATEGORIES if n not in visible.room.by_category]
    ways += [replace(ref, category=n) for n in rng.some(absent, max(1, len(ways) // 3))]
    return next((way for way in rng.some(ways) if way.matching(visible) == []), None)


def _ask_colour(rng: Rng, visible: Visibility) -> Asked:
    asked: Asked = []
    for thing in visible.shown.values():
        refs = [ref for ref in references(visible, rng, thing) if ref.colour is None]
        if refs and len(KINDS[thing.category].colours) > 2:
            name = refs[0].sentence(rng).split(". ")[0]
            if name.startswith("the "):
                asked.append((f"What color is {name.rstrip('.')}?", [thing.colour], [thing]))
    return asked


def _ask_count(rng: Rng, visible: Visibility) -> Asked:
    """Two and more, the number drawn first; one red chair among others would be a safe guess."""
    asked: Asked = []
    for name, things in visible.room.by_category.items():
        for colour in (None, *sorted({t.colour for t in things})):
            ref = Reference(name, colour)
            meant = ref.matching(visible) or []
            if len(meant) > 1 and visible.shows(things):
                many = ref.noun(several=True)
                text = rng.pick((f"How many {many} are there?", f"How many {many} are in the room?"))
                asked.append((text, [str(len(meant)), WORDS[len(meant)]], meant))
    by_count = grouped((len(question[2]), question) for question in asked)
    return [rng.pick(by_count[number]) for number in sorted(by_count)]


def _ask_where(rng: Rng, visible: Visibility) -> Asked:
    """On what a thing is, where that can be said in one way."""
    by_id = {thing.id: thing for thing in visible.room.instances}
    asked: Asked = []
    for thing in visible.shown.values():
        refs = [r for r in references(visible, rng, thing) if r.relation is None]
        if refs and thing.parent:
            carrier = by_id[thing.parent].category
            answers = [f"on the {carrier}", f"on {carrier}", carrier]
            asked.append((f"Where is the {refs[0].noun()}?", answers, [thing]))
    return asked


def _ask_what_on(rng: Rng, visible: Visibility) -> Asked:
    asked: Asked = []
    for name, carrier in visible.unique.items():
        things = [t for t in visible.room.instances if t.parent == carrier.id]
        kinds = sorted({t.category for t in things})
        if len(kinds) == 1 and visible.shows(things):
            one = kinds[0] if len(things) == 1 else plural(kinds[0])
            asked.append((f"What is on the {name}?", [one, f"the {one}"], things))
    return asked


def _ask_exists(rng: Rng, visible: Visibility) -> Asked:
    """As many yes as no, about colours of what is there."""
    yes: Asked = []
    no: Asked = []
    for name, things in visible.room.by_category.items():
        shown = [t for t in things if t.id in visible.shown]
        yes += [(_is_there(t.colour, name), ["yes"], [t]) for t in shown[:1]]
        had = {t.colour for t in things}
        absent = rng.some([c for c in KINDS[name].colours if c not in had], 1)
        no += [(_is_there(colour, name), ["no"], []) for colour in absent]
    size = min(len(yes), len(no), 2)
    return rng.some(yes, size) + rng.some(no, size)


def _is_there(colour: str, name: str) -> str:
    return f"Is there {article(colour)} {colour} {name}?"


def _ask_closer(rng: Rng, visible: Visibility) -> Asked:
    """Two things first, then which of them is closer, then to what: large things are close to everything."""
    asked: Asked = []
    singles = visible.unique.values()
    for _ in range(6):
        pair = rng.some(singles, 2)
        targets = [thing for thing in singles if thing not in pair]
        gaps = [(visible.distance(t, pair[0]) - visible.distance(t, pair[1]), t) for t in targets]
        wins = grouped((int(gap > 0), target) for gap, target in gaps if abs(gap) >= 0.3)
        if len(wins) == 2:
            winner = rng.whole(0, 2)
            target, nearer = rng.pick(wins[winner]), pair[winner]
            a, b = rng.some([thing.category for thing in pair])
            text = f"What is closer to the {target.category}, the {a} or the {b}?"
            asked.append((text, [nearer.category, f"the {nearer.category}"], [nearer]))
    return asked
