"""Who is started where, and what is given up, told by fakes of Ray's answers and a clock turned by hand."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from espalier.cluster.on_ray import crew as crews
from espalier.cluster.on_ray.actors import Slot
from espalier.cluster.on_ray.crew import START_SECONDS, Crew
from espalier.cluster.on_ray.nodes import Nodes, nodes_of
from espalier.cluster.on_ray.set_aside import RETRY_SECONDS, SetAside


class Cluster:
    """Nodes by id with their rooms; an actor has a place where there is room, and starts where it can."""

    def __init__(self, **rooms):
        self.rooms, self.now, self.told = rooms, 0.0, []
        self.place, self.broken, self.silent, self.draining = {}, set(), set(), set()

    def make(self, excluded):
        slot = Slot(object(), object(), born=self.now)
        self.place[slot.actor] = next((n for n in self.rooms if n not in excluded and self.free(n)), "")
        return slot

    def free(self, node):
        """Whether an actor fits; Ray starts none on a node that is being drained."""
        return node not in self.draining and self.rooms[node] > list(self.place.values()).count(node)

    def kill(self, actor):
        self.place.pop(actor)

    def get(self, hello):
        slot = next(slot for slot in self.crew.slots if slot.hello is hello)
        if self.place[slot.actor] in self.broken:
            raise RayActorError(error_msg="long story\nModuleNotFoundError: No module named 'x'")
        return {"node": self.place[slot.actor]}

    def ask(self, need):
        table = [
            {"NodeID": n, "Alive": True, "NodeManagerHostname": n, "NodeManagerAddress": "10.0.0.1",
             "Resources": {"CPU": room, "memory": 10.0 * room}}
            for n, room in self.rooms.items()
        ]  # fmt: skip
        return nodes_of(table, self.draining, need)

    def pass_by(self, seconds):
        """Time goes by; whoever can answer does so."""
        end = self.now + seconds
        while self.now < end:
            self.now += 1.0
            for slot in list(self.crew.slots):
                node = self.place[slot.actor]
                if slot.hello and node and node not in self.silent:
                    self.crew.greet(slot)
            self.crew.check()

    def live(self):
        return sorted(slot.node for slot in self.crew.slots if not slot.hello)


@pytest.fixture
def started(monkeypatch):
    """Starts a crew of three in a cluster."""

    def start(cluster, count=3, grows=False):
        monkeypatch.setattr(crews.time, "monotonic", lambda: cluster.now)
        monkeypatch.setattr(crews, "_place", lambda slot: cluster.place[slot.actor])
        monkeypatch.setattr(crews, "SetAside", lambda: SetAside(lambda: cluster.now))
        fake = SimpleNamespace(kill=cluster.kill, get=cluster.get)
        monkeypatch.setattr(crews, "ray", fake)
        monkeypatch.setattr(crews.session, "where", lambda: "")  # of a Ray that another test has started
        nodes = Nodes({"CPU": 1.0, "GPU": 0.0}, cluster.ask, lambda: cluster.now)
        cluster.crew = Crew(cluster.make, count, grows, nodes, "m:f", 600.0, cluster.told.append)
        return cluster

    return start


class Actor:
    pass


def seeing(cluster, *blind):
    """Has every worker asked whether it sees the store, which those on some nodes do not."""
    asked = []

    def make(excluded):
        slot = Cluster.make(cluster, excluded)
        slot.actor, node = Actor(), cluster.place.pop(slot.actor)
        slot.actor.sees = SimpleNamespace(remote=lambda *what: asked.append((node, *what)) or object())
        cluster.place[slot.actor] = node
        return slot

    def get(hello):
        slot = next(slot for slot in cluster.crew.slots if slot.hello is hello)
        node = cluster.place[slot.actor]
        return node not in blind if slot.place else {"node": node}

    cluster.make, cluster.get = make, get
    return asked


def test_each_worker_says_whether_it_sees_the_store_before_it_has_a_job_and_late_ones_too(started):
    cluster = Cluster(a=1, b=1)
    asked = seeing(cluster, "b", "c")
    started(cluster, count=2, grows=True)
    cluster.crew.shelf = ("/shared/mine/.shelf", "mark")
    cluster.pass_by(2)
    assert {slot.node: slot.sees for slot in cluster.crew.slots} == {"a": True, "b": False}
    assert asked == [(node, "/shared/mine/.shelf", "mark") for node in "ab"]
    cluster.rooms["c"] = 1
    cluster.pass_by(30)
    assert {slot.node: slot.sees for slot in cluster.crew.slots} == {"a": True, "b": False, "c": False}
    (line,) = (line for line in cluster.told if "checkpoints" in line)
    assert line.startswith("checkpoints of workers on b (10.0.0.1), and on whatever other node does not see")


def test_a_node_whose_disk_hangs_holds_nobody_up_and_gets_no_jobs(started):
    cluster = Cluster(a=1, b=1)
    seeing(cluster)
    started(cluster, count=2)
    cluster.crew.shelf = ("/shared/mine/.shelf", "mark")
    for slot in list(cluster.crew.slots):
        cluster.crew.greet(slot)  # both say where they are
    cluster.silent.add("b")
    cluster.pass_by(1)
    assert cluster.live() == ["a"]


@pytest.mark.parametrize("how", ["broken", "silent"])
def test_a_run_goes_on_without_the_node_where_workers_do_not_start(started, how):
    cluster = Cluster(a=1, b=1, c=1)
    getattr(cluster, how).add("b")
    started(cluster).pass_by(2 * START_SECONDS + 60)
    assert cluster.live() == ["a", "c"]
    why = {
        "broken": "ModuleNotFoundError: No module named 'x'",
        "silent": "a worker did not answer within 300 s of its start",
    }
    assert cluster.told[0].startswith(
        f"node b (10.0.0.1) is set aside, for workers do not start there: {why[how]} (tried again in 120 s)"
    )
    getattr(cluster, how).clear()  # mended
    cluster.pass_by(16 * RETRY_SECONDS)
    assert cluster.live() == ["a", "b", "c"]


def test_a_node_that_joins_or_has_room_takes_the_slots_of_the_one_set_aside(started):
    cluster = Cluster(b=1, a=2)
    cluster.broken.add("b")
    started(cluster).pass_by(20)
    assert cluster.live() == ["a", "a"]
    cluster.rooms["a"] = 3
    cluster.pass_by(2 * RETRY_SECONDS)
    assert cluster.live() == ["a", "a", "a"]


def test_workers_that_start_nowhere_end_the_run_with_the_nodes_and_the_error(started):
    cluster = started(Cluster(a=1, b=1, small=0))  # no slot fits on the third
    cluster.broken |= {"a", "b"}
    with pytest.raises(RuntimeError, match=r"on every node \(a \(10.0.0.1\), b .*'x'$") as no:
        cluster.pass_by(60)
    assert "`execute` (m:f) can be imported" in str(no.value)
    assert "small" not in str(no.value)


def test_while_one_worker_lives_the_run_goes_on(started):
    cluster = started(Cluster(a=2, b=2), 4)
    cluster.pass_by(5)
    cluster.broken |= {"a", "b"}
    for slot in cluster.crew.slots[1:]:
        cluster.crew.replace(slot)
    cluster.pass_by(5000)
    assert cluster.live() == ["a"]
    assert {line[:6] for line in cluster.told} == {"node a", "node b"}


def test_what_dies_with_its_node_says_nothing_of_it(started):
    cluster = started(Cluster(a=1, b=2))
    cluster.broken.add("b")
    room = cluster.rooms.pop("b")
    for slot in cluster.crew.slots[1:]:
        cluster.crew.greet(slot)
    assert cluster.told == []
    cluster.rooms["b"] = room
    cluster.broken.clear()
    for slot in [slot for slot in cluster.crew.slots if slot.hello and not cluster.place[slot.actor]]:
        cluster.crew.replace(slot)
    cluster.pass_by(2)
    assert "b" in cluster.live()


def test_no_worker_for_too_long_is_told_with_the_last_error(started):
    cluster = started(Cluster(a=1))
    cluster.rooms["a"] = 0
    for slot in cluster.crew.slots:
        cluster.place[slot.actor] = ""
    with pytest.raises(RuntimeError, match=r"No worker has started for 600 s: .* less per slot\.$"):
        cluster.pass_by(700)


def test_a_crew_that_grows_uses_who_joins_and_shrinks_with_who_is_gone(started):
    cluster = started(Cluster(a=2), 2, grows=True)
    cluster.pass_by(10)
    cluster.rooms["b"] = 3
    cluster.pass_by(10)
    assert cluster.live() == ["a", "a", "b", "b", "b"]
    assert [slot.memory for slot in cluster.crew.slots] == [10] * 5
    assert cluster.crew.memories() == (10,) * 5
    del cluster.rooms["b"]
    for slot in [slot for slot in cluster.crew.slots if slot.node == "b"]:
        cluster.crew.replace(slot)  # as the pool does with a worker that died
    cluster.pass_by(10)
    assert cluster.live() == ["a", "a"]
    assert len(cluster.crew.slots) == 2
    assert cluster.told == [
        "node b (10.0.0.1) has joined, with room for 3 slots",
        "node b (10.0.0.1) is gone",
    ]


@pytest.mark.parametrize("grows", [True, False])
def test_who_idles_on_a_node_that_is_taken_away_is_let_go(started, grows):
    cluster = started(Cluster(a=1, b=1), 2, grows=grows)
    cluster.pass_by(10)
    cluster.draining.add("b")
    cluster.pass_by(10)
    assert cluster.told == ["node b (10.0.0.1) is being taken away: it gets no more jobs"]
    (there,) = (slot for slot in cluster.crew.slots if cluster.crew.leaving(slot))
    cluster.crew.release(there)
    cluster.pass_by(10)
    assert cluster.live() == ["a"]
    # where slots were asked for, the one that is missing waits for a node
    assert len(cluster.crew.slots) == (1 if grows else 2)
    assert len(cluster.told) == 1


def test_a_crew_that_grows_asks_for_no_place_on_a_node_that_is_set_aside_until_it_is_tried_again(started):
    cluster = Cluster(a=1, b=2)
    cluster.broken.add("b")
    started(cluster, 3, grows=True).pass_by(60)
    assert cluster.live() == ["a"]
    assert len(cluster.crew.slots) == 1
    cluster.broken.clear()
    cluster.pass_by(2 * RETRY_SECONDS)
    assert cluster.live() == ["a", "b", "b"]


def test_a_disk_of_rays_own_files_that_fills_up_is_told_once_and_in_the_error_that_ends_a_run(
    started, monkeypatch
):
    cluster, full = Cluster(a=2), [""]
    monkeypatch.setattr(crews.session, "cramped", lambda: full[-1])
    started(cluster, count=2)
    cluster.pass_by(20)
    assert cluster.told == []
    full.append("the disk is full")
    cluster.pass_by(20)
    assert cluster.told == ["the disk is full"]
    full.append("")
    cluster.pass_by(10)
    full.append("the disk is full")
    cluster.pass_by(10)
    assert cluster.told == ["the disk is full"] * 2
    cluster.broken.add("a")
    for slot in list(cluster.crew.slots):
        cluster.crew.replace(slot)
    with pytest.raises(RuntimeError, match=r"workers die while starting.* the disk is full\."):
        cluster.pass_by(10)


def test_a_worker_that_starts_on_a_node_before_that_is_known_has_the_nodes_memory(started):
    """It waited for a place when the node joined; without memory no job would ever fit it."""
    cluster = started(Cluster(a=1), count=2)
    cluster.pass_by(1)
    (waiting,) = (slot for slot in cluster.crew.slots if slot.hello)
    cluster.rooms["b"], cluster.place[waiting.actor] = 1, "b"
    cluster.pass_by(1)
    assert (waiting.node, waiting.memory) == ("b", 10)
