"""The order of rows under ZeRO: all processes see the same kind of media in the same step."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vega3d.data.annotations import row_of
from vega3d.data.tables import StreamedGroups
from vega3d.training.sampler import GroupedSampler

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


def test_an_epoch_of_blocks_is_an_epoch_of_their_stream() -> None:
    class Told(list):  # type: ignore[type-arg]
        epoch = 0

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

    stream = Told()
    StreamedGroups(stream, 2).set_epoch(3)
    assert stream.epoch == 3
