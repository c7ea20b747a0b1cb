"""Whether all nodes see a file, told by fakes of the nodes' answers."""

from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError

from espalier.cluster.on_ray import ask_nodes


@pytest.fixture
def cluster(monkeypatch):
    """Nodes by name with what each sees; those in `dying` are gone once they are asked."""
    made = SimpleNamespace(sees={}, dying=set(), killed=[], asked=[])

    def answer(call, deadline):
        made.asked.append(call)
        if call in made.dying:
            del made.sees[call]
            raise RayActorError
        return made.sees[call]

    def examiner(node):
        return SimpleNamespace(node=node, shares=SimpleNamespace(remote=lambda path, text: node))

    monkeypatch.setattr(ask_nodes, "alive", lambda: sorted(made.sees))
    monkeypatch.setattr(ask_nodes, "_examiner", examiner)
    monkeypatch.setattr(ask_nodes, "_got", answer)
    monkeypatch.setattr(ask_nodes.ray, "kill", lambda one: made.killed.append(one.node))
    return made


@pytest.mark.parametrize(
    ("sees", "seen"),
    [
        ({"a": True, "b": True}, True),
        ({"a": True, "b": False}, False),
        ({"a": True}, False),  # the driver's own disk, as far as anybody knows
    ],
)
def test_a_folder_is_shared_if_every_one_of_several_nodes_sees_it(cluster, sees, seen):
    cluster.sees = dict(sees)
    assert ask_nodes.all_see("p", "t") == seen
    assert cluster.killed == (sorted(sees) if len(sees) > 1 else [])


def test_a_node_that_dies_while_it_is_asked_is_no_reason_against_the_others(cluster):
    cluster.sees, cluster.dying = {"a": True, "b": True, "c": True}, {"b"}
    assert ask_nodes.all_see("p", "t")
    assert cluster.asked == ["a", "b", "a", "c"]
    assert cluster.killed == ["a", "b", "c", "a", "c"]


def test_a_node_that_lives_and_gives_no_answer_is(cluster, monkeypatch):
    def silent(call, deadline):
        raise RayActorError

    monkeypatch.setattr(ask_nodes, "_got", silent)
    cluster.sees = {"a": True, "b": True}
    assert not ask_nodes.all_see("p", "t")
