"""A slot's share of a GPU follows the memory of the smallest one and the largest job."""

import pytest
from ray.exceptions import RayActorError

from espalier.cluster.on_ray import gpu_share as shares
from espalier.cluster.on_ray.gpu_share import CONTEXT_BYTES, MOST, USABLE, gpu_share, share_here

GIB = 2**30


def node(key, gpus=2, cores=16, alive=True):
    resources = {"CPU": cores, "GPU": gpus} if gpus else {"CPU": cores}
    return {"NodeID": key, "NodeManagerHostname": f"host-{key}", "Alive": alive, "Resources": resources}


@pytest.fixture
def cluster(monkeypatch):
    """What each node's nvidia-smi tells, by the node's id."""
    told = {}

    class Asked:
        def __init__(self, strategy):
            self._key = strategy.node_id

        def remote(self):
            return self._key

    def get(key, timeout):
        if isinstance(told[key], Exception):
            raise told[key]
        return [{"memory": memory} for memory in told[key]]

    fake = type("ray", (), {"get": staticmethod(get)})
    fake.remote = staticmethod(lambda num_cpus, scheduling_strategy: lambda _: Asked(scheduling_strategy))
    monkeypatch.setattr(shares, "ray", fake)
    monkeypatch.setattr(
        shares, "NodeAffinitySchedulingStrategy", lambda key, soft: type("There", (), {"node_id": key})
    )
    return told


@pytest.mark.parametrize("gpu", [16, 40, 80])
@pytest.mark.parametrize("job", [0.1, 1.5, 7.0, 30.0, 200.0])
@pytest.mark.parametrize("cores", [1, 4, 64])
def test_all_slots_of_a_gpu_fit_and_one_more_would_not(gpu, job, cores):
    slots = round(1 / gpu_share(int(job * GIB), [gpu * GIB], cores))
    taken = slots * (job * GIB + CONTEXT_BYTES)
    assert slots == 1 or taken <= USABLE * gpu * GIB
    more = (slots + 1) * (job * GIB + CONTEXT_BYTES)
    assert slots in (cores, MOST) or more > USABLE * gpu * GIB


def test_the_smallest_gpu_of_all_nodes_decides_and_nodes_without_one_are_not_asked(cluster):
    cluster |= {"a": [80 * GIB, 80 * GIB], "b": [24 * GIB] * 2}
    nodes = [node("a"), node("b"), node("c", gpus=0), node("d", alive=False)]
    assert share_here(5 * GIB, nodes) == gpu_share(5 * GIB, [24 * GIB], 8) == 1 / 3


def test_what_is_not_known_is_told_with_the_node_and_the_cure(cluster):
    cluster |= {"a": [80 * GIB], "b": [], "c": RayActorError(error_msg="gone\nid 7"), "d": [0]}
    for key, why in (("b", "nvidia-smi tells of none"), ("c", r"\(gone\)"), ("d", "nvidia-smi")):
        with pytest.raises(ValueError, match=rf"host-{key} .*{why}.*0.5 for two"):
            share_here(GIB, [node("a", gpus=1), node(key)])
    with pytest.raises(ValueError, match="no node of the cluster has a GPU"):
        share_here(GIB, [node("c", gpus=0)])
