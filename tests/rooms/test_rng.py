from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vega3d.rooms.rng import Rng

keys = st.lists(st.integers(0, 2**32), min_size=1, max_size=4)


def test_a_stream_never_changes() -> None:
    """Golden: PCG64's raw words for SeedSequence((2, 7)), shifted to 53 bits; numpy keeps bit streams."""
    words = np.random.PCG64(np.random.SeedSequence((2, 7))).random_raw(3)
    assert [Rng(2, 7).real(), *(int(w) >> 11 for w in words[:1])] == [0.12054820956228385, 1085801743329764]


@given(keys)
def test_the_same_key_gives_the_same_draws(key: list[int]) -> None:
    a, b = Rng(*key), Rng(*key)
    assert [a.real() for _ in range(600)] == [b.real() for _ in range(600)]


@given(keys, st.integers(-50, 50), st.integers(1, 60))
def test_whole_numbers_stay_in_range(key: list[int], low: int, width: int) -> None:
    rng = Rng(*key)
    assert all(low <= rng.whole(low, low + width) < low + width for _ in range(20))


@given(keys, st.lists(st.integers(), unique=True, max_size=20), st.integers(0, 25))
def test_some_are_different_items_of_the_list(key: list[int], items: list[int], most: int) -> None:
    drawn = Rng(*key).some(items, most)
    assert len(drawn) == len(set(drawn)) == min(most, len(items))
    assert set(drawn) <= set(items)


def test_every_order_is_about_equally_likely() -> None:
    rng = Rng(1)
    orders = [tuple(rng.some([1, 2, 3])) for _ in range(6000)]
    counts = [orders.count(order) for order in set(orders)]
    assert len(counts) == 6
    assert max(counts) - min(counts) < 200  # about 7 standard deviations of a difference


def test_a_bell_has_its_spread_and_an_end() -> None:
    rng = Rng(3)
    drawn = np.array([rng.bell(0.5) for _ in range(4000)])
    assert abs(drawn.std() - 0.5) < 0.02
    assert abs(drawn.mean()) < 0.03
    assert np.abs(drawn).max() <= 3.0
