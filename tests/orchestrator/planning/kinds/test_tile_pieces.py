"""Pieces of tiles: slots at work until nearly the end, sources parted no more than that takes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.orchestrator.planning.kinds.tile_pieces import last_end, pieces, well_used


def used(work, again, counts, slots):
    """Share of the slots' time in work that is wanted once."""
    sizes = [(a + (w - a) / n, n) for w, a, n in zip(work, again, counts, strict=True)]
    return sum(work) / slots / last_end(sorted(size for size, n in sizes for _ in range(n)), slots)


def test_as_many_equal_tiles_as_slots_stay_whole_where_slots_are_few():
    assert well_used([5.0] * 8, 8)
    assert well_used([5.0] * 16, 8)
    assert not well_used([5.0] * 9, 8)
    assert not well_used([5.0] * 7, 8)


def test_a_slot_that_is_late_does_not_double_the_time_of_many():
    work, again = [1000.0] * 1000, [5.0] * 1000
    assert not well_used(work, 1000)
    counts = pieces(work, again, [1000] * 1000, 1000)
    assert used(work, again, counts, 960) > 0.84
    assert used(work, again, counts, 1000) > 0.84


@pytest.mark.parametrize("tiles", [400, 999, 1001, 1500])
def test_a_thousand_slots_do_not_wait_long_for_the_last_tiles(tiles):
    work, again = [1000.0] * tiles, [5.0] * tiles
    counts = pieces(work, again, [1000] * tiles, 1000)
    assert used(work, again, counts, 1000) > 0.84


def test_the_widest_nets_sources_are_cut_and_narrow_ones_stay_whole():
    work = [4.0**k for k in range(5) for _ in range(200)]
    again = [0.005 * some for some in work]
    assert not well_used(work, 1000)
    counts = pieces(work, again, [200] * 1000, 1000)
    assert set(counts[:400]) == {1}
    assert min(counts[-200:]) > 1
    assert used(work, again, counts, 1000) > 0.84


def test_a_tile_is_not_cut_where_its_source_is_all_of_its_work():
    assert list(pieces([10.0, 10.0, 10.0], [10.0] * 3, [50] * 3, 3)) == [1, 1, 1]
    few = pieces([10.0], [9.9], [50], 4)
    assert few[0] == 4  # no slot is left without work, and no more than that


@given(
    work=st.lists(st.floats(1.0, 1e3), min_size=1, max_size=30),
    share=st.floats(0.0, 0.9),
    targets=st.integers(1, 40),
    slots=st.integers(1, 50),
)
@settings(max_examples=80, deadline=None)
def test_there_is_a_piece_for_every_slot_and_never_one_without_targets(work, share, targets, slots):
    counts = pieces(work, [share * some for some in work], [targets] * len(work), slots)
    assert np.all((counts >= 1) & (counts <= targets))
    assert counts.sum() >= min(slots, targets * len(work))
