"""A slot takes jobs that fit its node, and of these the one that needs most of what it has just had."""

from itertools import permutations

import pytest

from espalier.cluster.on_ray.actors import Slot
from espalier.cluster.on_ray.choosing import NEARBY, choose
from espalier.cluster.pool import Job


def slot(node, memory=0, seen=(), starting=False):
    return Slot(None, "hello" if starting else None, node=node, memory=memory, seen=frozenset(seen))


def jobs(**needs):
    return [Job(key, "graft", None, memory=memory) for key, memory in needs.items()]


def test_of_the_oldest_jobs_the_one_that_shares_most_inputs_is_taken():
    here = slot("a", seen="xy")
    queue = [
        Job("none", "graft", None),
        Job("one", "graft", None, ("x",)),
        Job("both", "graft", None, ("y", "x")),
    ]
    for order in permutations(queue):
        assert order[choose(order, here, [here], {})].key == "both"
    far = [Job(str(number), "graft", None) for number in range(NEARBY)] + queue
    assert choose(far, here, [here], {}) == 0  # among equals the oldest, and not too far
    assert choose([], here, [here], {}) is None


def test_a_job_goes_where_it_fits_and_one_that_fits_nowhere_to_the_largest():
    small, large = slot("a", 2), slot("b", 8)
    both = [small, large]
    queue = jobs(wide=5, narrow=1)
    assert choose(queue, small, both, {}) == 1
    assert choose(queue, large, both, {}) == 0
    assert choose(jobs(wide=5), small, both, {}) is None
    assert choose(jobs(wider=9), small, both, {}) is None
    assert choose(jobs(wider=9), large, both, {}) == 0
    assert choose(jobs(wide=5), small, [small], {}) == 0  # the large node is gone: better tried than never


def test_jobs_that_do_not_fit_hide_none_that_do():
    small, large = slot("a", 2), slot("b", 8)
    queue = jobs(**{f"wide{number}": 5 for number in range(3 * NEARBY)}, narrow=1)
    assert choose(queue, small, [small, large], {}) == 3 * NEARBY


@pytest.mark.parametrize("others", [[], [slot("a")], [slot("b", starting=True)]])
def test_a_job_that_hung_goes_elsewhere_only_if_a_worker_lives_elsewhere(others):
    here, there = slot("a"), slot("b")
    queue = jobs(hung=0, next=0)
    assert choose(queue, here, [here, there], {"hung": "a"}) == 1
    assert choose(queue[:1], here, [here, there], {"hung": "a"}) is None
    assert choose(queue, there, [here, there], {"hung": "a"}) == 0
    assert choose(queue, here, [here, *others], {"hung": "a"}) == 0
