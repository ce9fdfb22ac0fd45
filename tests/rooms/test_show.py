from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vega3d.cli.main import main
from vega3d.rooms import make_room
from vega3d.rooms.shading import BACKGROUND
from vega3d.rooms.show import Label, contact_sheet, free_label, plan, turntable


def test_show_writes_a_sheet_a_turntable_and_a_plan(tmp_path: Path, capsys: object) -> None:
    assert main(["rooms", "show", "--seed", "3", "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"room_000000003_{kind}" for kind in ("sheet.png", "turntable.gif", "plan.png")}
    with Image.open(tmp_path / "room_000000003_turntable.gif") as turning:
        assert turning.n_frames == 24


def test_a_contact_sheet_has_pictures_depth_and_ids() -> None:
    sheet = contact_sheet(make_room(3), columns=4, size=48)
    assert sheet.shape == (144, 192, 3)
    depth, ids = sheet[48:96], sheet[96:]
    assert (depth[..., 0] == depth[..., 2]).all()
    assert len(np.unique(ids.reshape(-1, 3), axis=0)) > 3


def test_a_turntable_looks_in_from_outside_over_cut_walls() -> None:
    for seed in (0, 3, 5):
        views = turntable(make_room(seed), views=4, size=64)
        for view in views:
            inside = (view != BACKGROUND).any(axis=-1)
            assert 0.15 < inside.mean() < 0.9
            assert inside[32, 32]
        assert not np.array_equal(views[0], views[2])


def test_a_plan_is_drawn_to_scale() -> None:
    room = make_room(3)
    width, height = plan(room).size
    assert abs((width - 80) / (height - 80) - room.size[0] / room.size[1]) < 0.01


LABELS = st.tuples(st.integers(-50, 450), st.integers(0, 100), st.integers(1, 90), st.integers(1, 20))


@given(st.lists(LABELS, max_size=12))
def test_no_label_covers_another_or_leaves_the_picture(wanted: list[tuple[int, int, int, int]]) -> None:
    taken: list[Label] = []
    for x, y, wide, high in wanted:
        left, top, right, bottom = free_label((x, y, x + wide, y + high), taken, 400)
        assert (right - left, bottom - top) == (wide, high)
        assert left >= 0
        assert right <= 400
        assert top >= y
        assert not any(left < o[2] and o[0] < right and top < o[3] and o[1] < bottom for o in taken)
        taken.append((left, top, right, bottom))
