"""A node where workers do not start is set aside for a while, then tried again."""

import pytest

from espalier.cluster.on_ray.set_aside import FAILURES, LONGEST_SECONDS, RETRY_SECONDS, SetAside


class Clock:
    def __init__(self):
        self.now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def nodes(clock):
    return SetAside(clock)


def fail(nodes, node, times=FAILURES):
    return [nodes.failed(node, f"error {time}") for time in range(times)]


def test_one_failure_is_an_accident_and_a_start_in_between_forgives_it(nodes):
    for _ in range(10):
        assert nodes.failed("a", "killed") == 0
        nodes.started("a")
    assert nodes.excluded() == frozenset()


def test_the_node_that_fails_is_set_aside_and_no_other(nodes):
    nodes.failed("b", "killed")
    assert fail(nodes, "a") == [0.0, RETRY_SECONDS]
    assert nodes.excluded() == {"a"}
    assert nodes.all_of(["a"])
    assert not nodes.all_of(["a", "b"])
    assert nodes.error() == "error 1"


def test_workers_on_their_way_when_it_was_set_aside_change_nothing(nodes, clock):
    fail(nodes, "a")
    assert fail(nodes, "a", 30) == [0.0] * 30
    clock.now += RETRY_SECONDS
    assert nodes.excluded() == frozenset()


def test_a_node_that_is_tried_again_has_one_try_and_waits_ever_longer(nodes, clock):
    fail(nodes, "a")
    waits = []
    for _ in range(8):
        clock.now += LONGEST_SECONDS
        assert nodes.excluded() == frozenset()
        waits += fail(nodes, "a", 1)
    assert waits[:2] == [2 * RETRY_SECONDS, 4 * RETRY_SECONDS]
    assert waits[-1] == LONGEST_SECONDS
    clock.now += LONGEST_SECONDS
    nodes.started("a")
    assert fail(nodes, "a") == [0.0, RETRY_SECONDS]  # mended: as good as any
