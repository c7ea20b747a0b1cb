"""Whatever fails, is lost or comes late: every task ends once, nothing runs too often or too wide."""

import random
from dataclasses import dataclass

import pytest

from espalier.cluster.pool import Job
from espalier.orchestrator.planning.cost import Cost
from espalier.orchestrator.planning.failures import BOUNDS
from espalier.orchestrator.planning.state_machine import Machine, Verdict
from espalier.orchestrator.planning.task import Task
from tests.orchestrator.planning.calls import calls


@dataclass(frozen=True)
class Parts:
    """The payload of a toy tile: each part needs some blobs."""

    needs: tuple[tuple[str, ...], ...]


def trainer(key, inputs=(), produces=None, flops=1.0):
    blobs = (f"{key}.blob",) if produces is None else produces
    return Task(Job(key, "train", None, tuple(inputs)), Cost(flops, 0, 0), key, blobs)


def tile(key, needs, flops=1.0):
    needs = tuple(tuple(part) for part in needs)
    inputs = tuple(sorted({name for part in needs for name in part}))
    return Task(Job(key, "graft", Parts(needs), inputs), Cost(flops, 0, 0), key, size=len(needs))


def cut(task, lost):
    """The toy tile's parts that need nothing lost, under a key of its own; nothing else can be cut."""
    if task.job.kind != "graft":
        return None
    kept = [part for part in task.job.payload.needs if not set(part) & lost]
    return tile(f"{task.job.key}'", kept, task.cost.flops) if kept else None


def machine(tasks, available=(), room=2, attempts=3):
    return Machine(tasks, available, room, attempts, cut)


def keys(submissions):
    return [submission.task.job.key for submission in submissions]


def random_sweep(rng):
    """Ladders of segments, each from the state of the one before, and tiles over their snapshots."""
    tasks, blobs = [], []
    for net in range(rng.randint(1, 5)):
        state = []
        for rung in range(rng.randint(1, 4)):
            name = f"net{net}-{rung}"
            tasks.append(trainer(name, state, (f"{name}.blob", f"{name}.state"), rng.random()))
            state = [f"{name}.state"]
            blobs.append(f"{name}.blob")
    old = [f"old{number}.blob" for number in range(rng.randint(0, 2))]
    for number in range(rng.randint(0, 8)):
        parts = [rng.choices(blobs + old, k=2) for _ in range(rng.randint(1, 5))]
        tasks.append(tile(f"tile{number}", parts, rng.random()))
    rng.shuffle(tasks)
    return tasks, old


class History:
    """Drives a machine with random events and keeps the books that its promises are checked against."""

    def __init__(self, rng):
        self.rng = rng
        self.tasks, old = random_sweep(rng)
        self.room, self.attempts = rng.randint(1, 4), rng.randint(1, 3)
        self.machine = machine(self.tasks, old, self.room, self.attempts)
        self.blobs, self.dead = set(old), set()
        self.done, self.gave_up, self.lost_units = {}, [], {}
        self.tries, self.failed, self.stale = {}, {}, []
        self.trouble = rng.choice([0.0, 0.1, 0.4, 0.9])

    def play(self):
        for _ in range(10_000):
            self.submit()
            if self.machine.finished:
                return self
            self.event()
        raise AssertionError("it does not end")

    def submit(self):
        before = len(self.machine.in_flight)
        submissions = self.machine.submit()
        assert before + len(submissions) == len(self.machine.in_flight) <= self.room
        for submission in submissions:
            key = submission.task.job.key
            assert set(submission.task.job.inputs) <= self.blobs
            self.tries[key] = self.tries.get(key, 0) + 1
            assert submission.attempt == self.tries[key]
            assert submission.late == self.failed.get((key, "late"), 0)
            assert key not in self.done
        # work-conserving: with room left, all that waits lacks something
        if len(self.machine.in_flight) < self.room:
            assert all(set(task.job.inputs) - self.blobs for task in self.machine.waiting)

    def event(self):
        if self.stale and self.rng.random() < 0.3:
            assert self.machine.current(*self.rng.choice(self.stale)) is None
        key = self.rng.choice(sorted(self.machine.in_flight))
        task = self.machine.current(key, self.tries[key])
        assert task is not None
        self.stale.append((key, self.tries[key]))
        if self.rng.random() >= self.trouble:
            self.machine.done(key)
            self.blobs |= set(task.produces)
            self.done[key] = task
            return
        cause = self.rng.choice(sorted(BOUNDS))
        count = self.failed[key, cause] = self.failed.get((key, cause), 0) + 1
        verdict = self.machine.failed(key, cause)
        assert verdict.again == (count < BOUNDS[cause] * self.attempts)
        if not verdict.again:
            self.gave_up.append(task)
            self.dead |= set(task.produces)
        for skipped in verdict.skipped:
            assert skipped.units > 0
            self.dead |= set(skipped.task.produces)
            name = skipped.task.job.key.rstrip("'")
            self.lost_units[name] = self.lost_units.get(name, 0) + skipped.units

    def units(self, name):
        """What became of each unit of a task."""
        finished = sum(task.size for key, task in self.done.items() if key.rstrip("'") == name)
        given_up = sum(task.size for task in self.gave_up if task.job.key.rstrip("'") == name)
        return finished, given_up, self.lost_units.get(name, 0)


@pytest.mark.parametrize("first", range(0, 3000, 500))
def test_every_unit_ends_exactly_once_as_done_given_up_or_skipped(first):
    for seed in range(first, first + 500):
        history = History(random.Random(seed)).play()
        assert history.machine.waiting == []
        for task in history.tasks:
            assert sum(history.units(task.job.key)) == task.size, (seed, task.label)
        # A part of a tile is skipped exactly if a net that it needs was lost.
        for task in history.tasks:
            if task.job.kind == "graft":
                barred = sum(bool(set(part) & history.dead) for part in task.job.payload.needs)
                assert history.units(task.job.key)[2] == barred, (seed, task.label)


def test_histories_do_contain_every_ending():
    histories = [History(random.Random(seed)).play() for seed in range(200)]
    assert any(history.gave_up for history in histories)
    assert any(history.lost_units for history in histories)
    assert any(key.endswith("'") for history in histories for key in history.done)
    assert any(tries > 2 for history in histories for tries in history.tries.values())


def test_without_trouble_everything_is_done_at_the_first_try():
    for seed in range(100):
        history = History(random.Random(seed))
        history.trouble = 0.0
        history.play()
        assert set(history.done) == {task.job.key for task in history.tasks}
        assert set(history.tries.values()) <= {1}


def test_a_tile_starts_when_its_own_snapshots_exist_not_when_all_do():
    tasks = [trainer("a", flops=2), trainer("b"), tile("t", [["a.blob"]])]
    m = machine(tasks, room=3)
    assert keys(m.submit()) == ["a", "b"]
    m.done("a")
    assert keys(m.submit()) == ["t"]


def test_training_goes_before_grafting_and_the_costlier_first():
    tasks = [
        tile("cheap tile", [[]], 1),
        tile("dear tile", [[]], 9),
        trainer("cheap net", flops=1),
        trainer("dear net", flops=5),
    ]
    assert keys(machine(tasks, room=9).submit()) == ["dear net", "cheap net", "dear tile", "cheap tile"]


def test_a_task_that_keeps_failing_starves_no_other():
    tasks = [trainer("bad", flops=9), *(trainer(f"n{i}", flops=i) for i in range(5))]
    m, finished = machine(tasks, room=1, attempts=4), []
    while submissions := m.submit():
        (submission,) = submissions
        key = submission.task.job.key
        if key == "bad":
            m.failed(key, "error")
        else:
            m.done(key)
            finished.append(key)
    assert sorted(finished) == [f"n{i}" for i in range(5)]
    assert m.finished


def test_an_event_of_an_attempt_that_was_given_up_is_ignored():
    m = machine([trainer("a")], room=1)
    assert m.submit()[0].attempt == 1
    m.failed("a", "error")
    assert m.current("a", 1) is None
    assert m.submit()[0].attempt == 2
    assert m.current("a", 1) is None
    assert m.current("a", 2) is not None
    m.done("a")
    assert m.current("a", 2) is None
    assert m.current("stranger", 1) is None


def test_what_is_hopeless_is_not_tried_again():
    m = machine([trainer("a")], attempts=5)
    m.submit()
    verdict = m.failed("a", "hopeless")
    assert not verdict.again
    assert m.finished


def test_a_lost_segment_takes_what_follows_it_and_just_the_pairs_that_need_them():
    first = trainer("n0", produces=("n0.blob", "n0.state"))
    second = trainer("n1", ["n0.state"], ("n1.blob",))
    other = trainer("m")
    tiles = [
        tile("both", [["n1.blob", "m.blob"], ["m.blob"]]),
        tile("lost", [["n0.blob"], ["n1.blob", "m.blob"]]),
        tile("free", [["m.blob"]]),
    ]
    m = machine([first, second, other, *tiles], room=9)
    m.submit()
    verdict = m.failed("n0", "hopeless")
    assert {skipped.task.job.key: skipped.units for skipped in verdict.skipped}.items() >= {
        "n1": 1,
        "both": 1,
    }.items()
    assert sum(skipped.units for skipped in verdict.skipped if skipped.task.job.key.startswith("lost")) == 2
    m.done("m")
    assert sorted(keys(m.submit())) == ["both'", "free"]


def test_a_tile_that_waits_for_what_nobody_makes_does_not_hold_the_end_up():
    m = machine([tile("t", [["never.blob"]]), trainer("a")])
    m.submit()
    m.done("a")
    assert m.submit() == []
    assert m.finished
    assert [task.job.key for task in m.waiting] == ["t"]


def test_of_a_job_that_is_done_in_part_what_needs_the_rest_is_cut_or_skipped():
    group = trainer("group", produces=("a.blob", "b.blob"))
    both, rest = tile("both", [["a.blob"], ["b.blob"]]), tile("rest", [["b.blob"]])
    runs = machine([group, both, rest], room=3)
    runs.submit()
    skipped = runs.done("group", lost=["b.blob"])
    assert sorted((one.task.job.key, one.units) for one in skipped) == [("both", 1), ("rest", 1)]
    assert keys(runs.submit()) == ["both'"]
    runs.done("both'")
    assert runs.finished


def test_what_a_reduced_job_no_longer_gives_is_lost_too():
    """A group goes on without one net; what needs that net's next snapshot is skipped."""

    def without(task, lost):
        kept = [name for name in task.job.inputs if name not in lost]
        made = tuple(name.replace("0", "1") for name in kept)
        return trainer(f"{task.job.key}'", kept, made) if kept else None

    first = trainer("first", produces=("a0", "b0"))
    second, third = trainer("second", ("a0", "b0"), ("a1", "b1")), trainer("third", ("b1",), ("b2",))
    runs = Machine([first, second, third], (), 3, 3, without)
    runs.submit()
    skipped = runs.done("first", lost=["b0"])
    assert [(one.task.job.key, one.units) for one in skipped] == [("second", 0), ("third", 1)]
    assert keys(runs.submit()) == ["second'"]


def test_a_job_too_large_for_the_memory_is_halved_and_a_hopeless_one_is_not():
    def in_two(task):
        return (trainer("left"), trainer("right")) if task.job.key == "large" else ()

    runs = Machine([trainer("large"), trainer("small")], (), 4, 2, cut, in_two)
    runs.submit()
    verdict = runs.failed("large", "memory")
    assert verdict.again
    assert [half.job.key for half in verdict.halves] == ["left", "right"]
    assert runs.failed("small", "memory") == Verdict(trainer("small"), again=True)
    assert sorted(keys(runs.submit())) == ["left", "right", "small"]
    assert not runs.failed("small", "memory").again
    other = Machine([trainer("large")], (), 1, 2, cut, in_two)
    other.submit()
    assert not other.failed("large", "hopeless").again


def test_a_worker_that_died_twice_with_one_job_makes_it_be_halved_and_a_preempted_one_never():
    def in_two(task):
        return (trainer("left"), trainer("right")) if task.job.key == "large" else ()

    runs = Machine([trainer("large")], (), 1, 3, cut, in_two)
    for cause in ("preempted", "preempted", "lost", "preempted"):
        runs.submit()
        verdict = runs.failed("large", cause)
        assert (verdict.again, verdict.halves) == (True, ())
    runs.submit()
    assert [half.job.key for half in runs.failed("large", "lost").halves] == ["left", "right"]


@pytest.mark.parametrize("cause", sorted(BOUNDS))
def test_each_cause_has_a_bound_of_its_own_and_other_causes_do_not_count(cause):
    runs = machine([trainer("a")], attempts=2)
    runs.submit()
    for other in sorted({"error", "lost", "preempted", "late", "memory"} - {cause}):
        assert runs.failed("a", other).again
        runs.submit()
    for _ in range(2 * BOUNDS[cause] - 1):
        assert runs.failed("a", cause).again
        runs.submit()
    assert not runs.failed("a", cause).again


def test_room_that_grows_is_used_and_room_that_shrinks_takes_nothing_back():
    runs = machine([trainer(str(number)) for number in range(6)], room=2)
    assert len(runs.submit()) == 2
    runs.room = 5
    assert len(runs.submit()) == 3
    runs.room = 1
    assert runs.submit() == []
    assert len(runs.in_flight) == 5


def test_a_blob_costs_each_task_that_waits_for_it_the_same_however_many_others_it_waits_for():
    def work(count):
        names = [f"{number:03}" for number in range(count)]
        reads = [[f"{name}.blob"] for name in names]
        driver = machine([*(trainer(name) for name in names), tile("t", reads)], room=count)
        driver.submit()
        counted = calls(lambda: [driver.done(name) for name in names])
        assert keys(driver.submit()) == ["t"]
        return counted

    assert work(80) < 2.5 * work(40)
