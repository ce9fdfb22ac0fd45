"""The order of rows: one kind of media in a step under ZeRO, whole groups in a batch with group_by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vega3d.data.annotations import row_of
from vega3d.data.tables import StreamedGroups
from vega3d.errors import ConfigError
from vega3d.training.sampler import GroupedSampler, TogetherSampler

KINDS = st.lists(st.sampled_from("abc"), min_size=1, max_size=40)


@given(kinds=KINDS, block=st.integers(1, 6), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_every_block_is_of_one_kind_and_every_row_is_seen(
    kinds: list[str], block: int, seed: int, epoch: int
) -> None:
    order = GroupedSampler(kinds, block, seed)
    order.set_epoch(epoch)
    rows = list(order)
    assert len(rows) == len(order)
    assert set(rows) == set(range(len(kinds)))
    assert all(len({kinds[row] for row in rows[at : at + block]}) == 1 for at in range(0, len(rows), block))
    assert len(rows) < len(kinds) + block * len(set(kinds))  # no more is repeated than fills the last blocks


@given(kinds=KINDS, seed=st.integers(0, 99))
def test_the_order_comes_from_seed_and_epoch_alone(kinds: list[str], seed: int) -> None:
    one, other = GroupedSampler(kinds, 2, seed), GroupedSampler(kinds, 2, seed)
    list(other)  # an epoch that was read before changes nothing
    assert list(one) == list(other)


def test_each_epoch_has_an_order_of_its_own() -> None:
    order = GroupedSampler(["a"] * 20, 2, 0)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first


MEDIA = {"a": [], "b": [{"type": "image", "image": "x.png"}], "c": [{"type": "video", "video": "x.mp4"}]}


@given(kinds=KINDS, block=st.integers(1, 6))
def test_a_stream_comes_in_blocks_of_one_kind_and_loses_no_row(kinds: list[str], block: int) -> None:
    messages = [[{"role": "user", "content": MEDIA[kind]}] for kind in kinds]
    rows = list(StreamedGroups([row_of(one, str(at)) for at, one in enumerate(messages)], block))
    assert {row.where for row in rows} == {str(at) for at in range(len(kinds))}
    blocks = [rows[at : at + block] for at in range(0, len(rows), block)]
    assert all(len(one) == block and len({row.kind for row in one}) == 1 for one in blocks)
    assert len(rows) < len(kinds) + block * len(set(kinds))  # no more is repeated than fills the last blocks


GROUPS = st.lists(st.one_of(st.none(), st.sampled_from("abcdefgh")), min_size=1, max_size=40)


@given(groups=GROUPS, spare=st.integers(0, 5), seed=st.integers(0, 99), epoch=st.integers(0, 3))
def test_a_batch_holds_whole_groups_and_every_row_is_seen(
    groups: list[str | None], spare: int, seed: int, epoch: int
) -> None:
    members = {name: {n for n, group in enumerate(groups) if group == name} for name in set(groups) - {None}}
    size = max(map(len, members.values()), default=1) + spare
    order = TogetherSampler(groups, size, seed)
    order.set_epoch(epoch)
    rows = list(order)
    assert len(rows) == len(order)
    assert set(rows) == set(range(len(groups)))
    for start in range(0, len(rows), size):
        batch = set(rows[start : start + size])
        assert all(group <= batch or not group & batch for group in members.values())


def test_twins_fill_their_batches_without_a_repeated_row() -> None:
    order = TogetherSampler([number // 2 for number in range(21)], 4, 0)
    assert sorted(order) == list(range(21))


def test_each_epoch_has_other_groups_in_a_batch() -> None:
    order = TogetherSampler([number // 2 for number in range(40)], 4, 0)
    first = list(order)
    order.set_epoch(1)
    assert list(order) != first


def test_a_group_that_is_larger_than_a_batch_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a group of 3 rows"):
        TogetherSampler(["a", "b", "a", "a"], 2, 0)


def test_an_epoch_of_blocks_is_an_epoch_of_their_stream() -> None:
    class Told(list):  # type: ignore[type-arg]
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    stream = Told()
    StreamedGroups(stream, 2).set_epoch(3)
    assert stream.epoch == 3
