"""The nodes that Ray tells of, as room for slots; what is being drained stays known as taken."""

from espalier.cluster.on_ray.nodes import LOOK_SECONDS, Node, Nodes, nodes_of

NEED = {"CPU": 1.0, "GPU": 0.5, "memory": 0.0}


def told(key, alive=True, **resources):
    return {
        "NodeID": key, "Alive": alive, "NodeManagerHostname": f"host-{key}", "NodeManagerAddress": "10.0.0.1",
        "Resources": resources,
    }  # fmt: skip


def test_each_node_has_its_own_number_of_slots_and_their_share_of_its_memory():
    table = [
        told("a", CPU=8, GPU=2, memory=80.0),
        told("b", CPU=1, GPU=2, memory=80.0),
        told("c", CPU=8, memory=80.0),
        told("d", alive=False, CPU=8, GPU=2),
    ]
    assert nodes_of(table, ["b", "gone"], NEED) == {
        "a": Node("host-a (10.0.0.1)", 4, 20),
        "b": Node("host-b (10.0.0.1)", 1, 80, leaving=True),
        "c": Node("host-c (10.0.0.1)", 0, 80),
    }


def test_who_is_leaving_is_known_as_taken_after_it_has_gone_and_is_not_used():
    now, there = [0.0], {"a": Node("a", 1, 0), "b": Node("b", 1, 0)}
    nodes = Nodes(NEED, lambda need: dict(there), lambda: now[0])
    assert nodes.usable().keys() == {"a", "b"}
    there["b"] = Node("b", 1, 0, leaving=True)
    assert nodes.leaving() == frozenset()  # Ray is asked again after a while
    now[0] += LOOK_SECONDS
    assert (nodes.leaving(), nodes.taken("b"), nodes.taken("a")) == ({"b"}, True, False)
    assert nodes.usable().keys() == {"a"}
    assert nodes.usable(frozenset("a")) == {}
    del there["b"]
    now[0] += LOOK_SECONDS
    assert (nodes.leaving(), nodes.taken("b")) == (frozenset(), True)
