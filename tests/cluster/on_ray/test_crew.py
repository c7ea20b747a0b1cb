"""Who is started where, and what is given up, told by fakes of Ray's answers and a clock turned by hand."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from espalier.cluster.on_ray import crew as crews
from espalier.cluster.on_ray.actors import Slot
from espalier.cluster.on_ray.crew import START_SECONDS, Crew
from espalier.cluster.on_ray.set_aside import RETRY_SECONDS, SetAside


class Cluster:
    """Nodes by id with their rooms; an actor has a place where there is room, and starts where it can."""

    def __init__(self, **rooms):
        self.rooms, self.now, self.told = rooms, 0.0, []
        self.place, self.broken, self.silent = {}, set(), set()

    def make(self, excluded):
        slot = Slot(object(), object(), born=self.now)
        self.place[slot.actor] = next((n for n in self.rooms if n not in excluded and self.free(n)), "")
        return slot

    def free(self, node):
        return self.rooms[node] > list(self.place.values()).count(node)

    def kill(self, actor):
        self.place.pop(actor)

    def get(self, hello):
        slot = next(slot for slot in self.crew.slots if slot.hello is hello)
        if self.place[slot.actor] in self.broken:
            raise RayActorError(error_msg="long story\nModuleNotFoundError: No module named 'x'")
        return {"node": self.place[slot.actor]}

    def nodes(self):
        return [
            {"NodeID": n, "Alive": True, "NodeManagerHostname": n, "NodeManagerAddress": "10.0.0.1",
             "Resources": {"CPU": room}}
            for n, room in self.rooms.items()
        ]  # fmt: skip

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

    def start(cluster, count=3):
        monkeypatch.setattr(crews.time, "monotonic", lambda: cluster.now)
        monkeypatch.setattr(crews, "_place", lambda slot: cluster.place[slot.actor])
        monkeypatch.setattr(crews, "SetAside", lambda: SetAside(lambda: cluster.now))
        fake = SimpleNamespace(kill=cluster.kill, get=cluster.get, nodes=cluster.nodes)
        monkeypatch.setattr(crews, "ray", fake)
        monkeypatch.setattr(crews.session, "where", lambda: "")  # of a Ray that another test has started
        cluster.crew = Crew(cluster.make, count, {"CPU": 1.0, "GPU": 0.0}, "m:f", 600.0, cluster.told.append)
        return cluster

    return start


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
