"""Records as a model, a broken pipeline or somebody malicious may write them, for every task.

A field is most often what it should be (so that scorers are reached), else any JSON value, else missing.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.evaluation.golden import TASK_TO_FILE, document
from vega3d.evaluation import load_protocol

# What models really write, and what breaks parsers: kept short, hypothesis adds the rest.
ANSWERS = (
    "A", "B.", " (C) ", "The answer is D", "3", "3.5 meters", "about three", "nan", "-inf", "1e999", "0x10",
    "twenty-one thousand hundred", "", " ", "\n", "\t", "\x00", "\ud800", "\u2028", "\u202e", "½", "٣",
    "ﬀ", "ß", "İ", "𝟛", "👩‍👩‍👧", "a" * 500, "answer " + " " * 300, "|||", "||| ||| |||", "sos eos", ".",
    "...", "-- ' ``",
    '{"frame": 0, "bbox_3d": [0, 0, 1, 1, 1, 1, 0, 0, 0]}',
    '```json\n{"frame": True, "bbox_3d": [0, 0, 1, 1, -1, 1, 9, 9, 9]} # so\n```',
    '{"frame": 0, "bbox_3d": [1e308, 1e308, 1, 1e308, 1, 1, 0, 0, 0]}',
    '{"frame": 10**9, "bbox_3d": __import__("os")}', "bbox_3d" + "[" * 200, "bbox_3d" + "-" * 200 + "1",
    '[\n{"label": "chair", "bbox_3d": [0, 0, 1, 1, 1, 1, 0, 0, 0]},\n{"label": "", "bbox_3d": []}\n]',
    '{"label": ["x"], "bbox_3d": [1]}\n{"label": None, "bbox_3d": [[1, 2], [3]]}',
    '{"label": 5, "bbox_3d": "7"}',
)  # fmt: skip
TYPES = (
    "object_counting", "object_abs_distance", "room_size_estimation", "route_planning", "object_rel_distance",
    "object_rel_direction_easy", "object_rel_direction_hard", "obj_appearance_order", "unique", "multiple",
    "all", "overall", "zt_w_d", "mt", "st_wo_d", "what", "others", "",
)  # fmt: skip
GROUPS = ("ADE20K", "COCO", "Omni3D", "Relative_Depth", "Spatial_Relation", "blink_spatial", "Count", "")

words = st.sampled_from(ANSWERS) | st.text(max_size=30)
numbers = st.floats() | st.integers() | st.sampled_from([0, -1, 1e-320, 1e308, 2**70, 10**400, True])
finite = st.floats(-10, 10)
anything = st.recursive(
    st.none() | st.booleans() | numbers | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)


def rows(length: int) -> st.SearchStrategy[list[float]]:
    return st.lists(finite, min_size=length, max_size=length)


def lists_of_rows(length: int, most: int = 4) -> st.SearchStrategy[list[list[float]]]:
    return st.lists(rows(length), max_size=most)


matrices = st.just([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]) | st.lists(
    rows(4), min_size=4, max_size=4
)
USUAL: dict[str, st.SearchStrategy[Any]] = {
    "prediction": words | rows(6) | lists_of_rows(6),
    "pred_response": words | rows(6),
    "gt_response": words | rows(6) | lists_of_rows(6),
    "ground_truth": st.sampled_from(["A", "b", "3", "0", "-2", "nan", "2.5", "", "inf"]) | numbers,
    "question_type": st.sampled_from(TYPES),
    "answers": st.lists(words, max_size=3),
    "annotations": st.lists(words, max_size=3),
    "prediction_top10": st.lists(words, max_size=12),
    "answer": st.sampled_from(["(A)", "(B)", "A", "", "()"]),
    "choices": st.lists(words, max_size=30),
    "source": st.sampled_from(GROUPS),
    "task": st.sampled_from(GROUPS),
    "sub_task": st.sampled_from(GROUPS),
    "iou": st.floats(0, 1) | numbers,
    "objects": lists_of_rows(6),
    "scores": st.lists(finite, max_size=5),
    "gt_boxes": lists_of_rows(6),
    "proposals": lists_of_rows(6),
    "gt_bbox": rows(9),
    "box_input": rows(6) | st.none(),
    "gt_box": rows(6),
    "box_a": rows(9),
    "box_b": rows(9),
    "cam2global": st.lists(matrices, max_size=3),
    "axis_align_matrix": matrices,
    "images": st.lists(words, max_size=3),
    "boxes": st.lists(
        st.fixed_dictionaries({"label": st.sampled_from(["chair", "lamp", ""]), "bbox_3d": rows(9)}),
        max_size=3,
    ),
    "pruned": st.booleans(),
}


def field_names(task: str) -> set[str]:
    """Every field that a task may look at: declared, or in the golden file of the task."""
    declared = {name for field in load_protocol(task).fields for name in (field.name, *field.other_names)}
    file = TASK_TO_FILE.get(task)
    golden = set(document(file)["samples"][0]) if file else set()
    extra = {"pruned", "images", "proposals", "objects", "scores", "gt_box"}
    varied = task.startswith(("vsibench/d", "scanrefer", "scan2cap"))
    return declared | golden | (extra if varied else set())


def records(task: str) -> st.SearchStrategy[Any]:
    """Anything that may stand in a list of samples."""
    fields = {name: USUAL.get(name, words) | USUAL.get(name, words) | anything for name in field_names(task)}
    whole = st.fixed_dictionaries(fields)
    partial = st.fixed_dictionaries({}, optional=fields)
    return whole | whole | partial | anything


def samples(task: str) -> st.SearchStrategy[list[Any]]:
    """A list of records, often with real ones of the golden file among them."""
    file = TASK_TO_FILE.get(task)
    some = records(task)
    if file:
        some |= st.sampled_from(document(file)["samples"])
    return st.lists(some, max_size=4)
