"""What is shown follows from what was done and a clock that the test turns."""

import io
from itertools import pairwise

import pytest
from rich.console import Console

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.task import Task
from espalier.orchestrator.running.progress import Lines, Live, Tally, display, duration


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def task(key, kind="train", flops=1.0, size=1):
    return Task(Job(key, kind, None), Cost(flops, 0, 0), f"{kind} {key}", size=size)


def plan(*tasks, done=None):
    done = {"train": 0, "graft": 0} | (done or {})
    total = {
        kind: count + sum(task.size for task in tasks if task.job.kind == kind)
        for kind, count in done.items()
    }
    return Plan(tasks, done, total)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def written():
    return []


def test_time_left_is_unknown_until_two_jobs_of_every_kind_that_is_left_have_ended(clock):
    nets = [task(f"n{n}") for n in range(3)]
    tiles = [task(f"t{n}", "graft") for n in range(3)]
    tally = Tally(plan(*nets, *tiles), slots=1, clock=clock)
    for job in (*nets, tiles[0]):
        assert tally.seconds_left() is None
        assert ", ? left" in tally.line()
        tally.done(job, 1.0)
    assert tally.seconds_left() is None  # the first job of a kind pays for starts and caches
    tally.done(tiles[1], 3.0)
    assert tally.seconds_left() == pytest.approx(2.0)


def test_a_line_says_for_how_long_no_job_has_ended(clock, written):
    nets = [task(f"n{n}") for n in range(3)]
    tally = Tally(plan(*nets), slots=1, clock=clock)
    lines = Lines(tally, written.append, clock)
    clock.now += 59.0
    lines.tick(1)
    assert "no job has ended" not in written[-1]
    clock.now += 66.0
    lines.tick(1, "train n0 (at work for 2 min 5 s)")
    assert written[-1].endswith(
        "? left, no job has ended for 2 min 5 s, waiting for train n0 (at work for 2 min 5 s)"
    )
    lines.done(nets[0], 125.0)
    assert "no job has ended" not in tally.line()
    clock.now += 125.0
    lines.tick(0)
    assert "no job has ended" not in tally.line()  # nothing is in flight: nothing could


def test_time_left_is_the_rest_at_the_speed_seen_shared_by_the_slots(clock):
    nets = [task(str(n), flops=4.0) for n in range(5)]
    tiles = [task(f"t{n}", "graft", flops=10.0) for n in range(4)]
    tally = Tally(plan(*nets, *tiles), slots=2, clock=clock)
    for net, tile in zip(nets[:2], tiles[:2], strict=True):
        tally.done(net, 2.0)
        tally.done(tile, 30.0)
    # 3 nets of 2 s and 2 tiles of 30 s are left for 2 slots.
    assert tally.seconds_left() == pytest.approx((3 * 2 + 2 * 30) / 2)
    tally.lose(tiles[2], tiles[2].size)
    assert tally.seconds_left() == pytest.approx((3 * 2 + 30) / 2)


def test_no_time_is_left_when_all_is_done(clock):
    train = task("n")
    tally = Tally(plan(train), slots=3, clock=clock)
    tally.done(train, 1.0)
    assert tally.seconds_left() == 0.0
    assert Tally(plan(), slots=1, clock=clock).seconds_left() == 0.0


def test_a_rate_counts_this_runs_units_alone(clock):
    tile = task("t", "graft", size=12)
    tally = Tally(plan(tile, done={"graft": 100}), slots=1, clock=clock)
    clock.now += 4.0
    tally.done(tile, 3.0)
    assert tally.rate("graft") == pytest.approx(3.0)
    assert tally.units["graft"] == tally.total["graft"] == 112


def test_a_partly_skipped_tile_leaves_the_rest_of_its_work(clock):
    tiles = [task(f"t{n}", "graft", flops=8.0, size=4) for n in range(3)]
    tally = Tally(plan(*tiles), slots=1, clock=clock)
    for tile in tiles[:2]:
        tally.done(tile, 8.0)
    tally.lose(tiles[2], 1)
    assert tally.seconds_left() == pytest.approx(6.0)
    assert "1 failed or skipped" in tally.line()


def test_the_line_tells_each_kinds_count_total_and_unit(clock):
    net = task("n")
    tally = Tally(plan(net, task("t", "graft", size=6)), slots=1, clock=clock)
    tally.done(net, 1.0)
    assert "train 1/1 snapshots" in tally.line()
    assert "graft 0/6 pairs" in tally.line()
    assert "failed" not in tally.line()


def test_lines_come_at_most_every_ten_seconds(clock, written):
    lines = Lines(Tally(plan(task("n")), 1, clock), written.append, clock)
    times = []
    for _ in range(600):
        clock.now += 0.1
        before = len(written)
        lines.tick(1)
        if len(written) > before:
            times.append(clock.now)
    assert len(times) in (5, 6)
    assert all(later - earlier >= 10.0 for earlier, later in pairwise(times))


def test_lines_tell_the_start_the_end_and_every_failure(clock, written):
    net, tile = task("n"), task("t", "graft", size=4)
    with Lines(Tally(plan(net, tile), 1, clock), written.append, clock) as lines:
        lines.failed(net, "Diverged: loss is nan")
        lines.skipped(tile, 3)
    assert written[0].startswith("train 0/1 snapshots")
    assert written[1] == "FAILED train n: Diverged: loss is nan"
    assert written[2] == "skipped 3 pairs of: graft t"
    assert "4 failed or skipped" in written[-1]


def test_live_bars_show_counts_failures_and_time_left(clock):
    net, tile = task("n"), task("t", "graft", size=4)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    with Live(Tally(plan(net, tile), 1, clock), console) as live:
        live.done(net, 1.0)
        live.failed(tile, "[/tmp/x] is [red]full")
        live.tick(0)
    shown = screen.getvalue()
    assert "1/1" in shown
    assert "4 lost" in shown
    assert "FAILED graft t: [/tmp/x] is [red]full" in shown
    assert "0 s left" in shown


def test_what_is_waited_for_stands_beside_the_time_left(clock, written):
    tally = Tally(plan(task("n")), 1, clock)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160)
    with Lines(tally, written.append, clock) as lines:
        lines.tick(1, "train [8, 'pool'] (at work for 5 min 0 s)")
    assert written[-1].endswith("? left, waiting for train [8, 'pool'] (at work for 5 min 0 s)")
    with Live(tally, console) as live:
        live.tick(1, "train [8, 'pool'] (at work for 5 min 0 s)")
    live.tick(1)
    assert "waiting for train [8, 'pool'] (at work" in screen.getvalue()
    assert "waiting" not in tally.line()


def test_without_a_terminal_there_are_plain_lines():
    screen = io.StringIO()
    shown = display(plan(task("n")), 1, Console(file=screen))
    assert not isinstance(shown, Live)
    shown.note("train [1, 'pool'] failed")
    assert screen.getvalue() == "train [1, 'pool'] failed\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (3600, "1 h 0 min"), (1e5, "27 h 46 min")],
)
def test_durations_read_as_people_say_them(seconds, text):
    assert duration(seconds) == text
