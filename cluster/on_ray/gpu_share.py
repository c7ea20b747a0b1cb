"""The share of a GPU that a slot takes: as many trainers on one as its memory and the cores allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from espalier.cluster.on_ray.node_facts import gpus

CONTEXT_BYTES = 600 * 2**20
"""Assumed, not measured: what CUDA and its libraries take of a GPU for each process, before any tensor."""
USABLE = 0.9
"""Of a GPU's memory, assumed: allocators leave gaps, and others may show a picture."""
MOST = 8
"""Slots that share a GPU at most, assumed: kernels of more processes would wait for each other."""
SECONDS = 60.0


def gpu_share(largest_job: int, memories: Sequence[int], cores_per_gpu: int) -> float:
    """The share of one GPU for a slot, such that the largest job fits into it on every GPU.

    A job that needs more than a GPU has is given a whole one.

    Args:
        largest_job: Bytes, by the planner's model.
        memories: Bytes of each GPU.
        cores_per_gpu: A slot takes a core too.

    >>> gib = 2**30
    >>> [gpu_share(int(size * gib), [80 * gib, 40 * gib], 16) for size in (2, 8, 50)]
    [0.125, 0.25, 1.0]
    >>> gpu_share(2 * gib, [80 * gib], 3)
    0.3333333333333333
    """
    fit = int(USABLE * min(memories) / (largest_job + CONTEXT_BYTES))
    return 1.0 / max(1, min(fit, cores_per_gpu, MOST))


def share_here(largest_job: int, nodes: Sequence[Mapping[str, Any]]) -> float:
    """`gpu_share` of a cluster, whose nodes with GPUs are asked for their memory.

    Args:
        largest_job: Bytes, by the planner's model.
        nodes: What `ray.nodes()` tells.

    Raises:
        ValueError: No node has a GPU, or one does not tell the memory of its own.
    """
    having = [node for node in nodes if node["Alive"] and node["Resources"].get("GPU", 0) >= 1]
    if not having:
        raise ValueError(
            "run.gpus_per_slot is 'auto' and no node of the cluster has a GPU: start some that have, or take "
            "run.device = 'cpu'"
        )
    memories = [memory for node in having for memory in _memories(node)]
    cores = min(int(node["Resources"].get("CPU", 1) / node["Resources"]["GPU"]) for node in having)
    return gpu_share(largest_job, memories, cores)


def _memories(node: Mapping[str, Any]) -> list[int]:
    """Bytes of each GPU of a node."""
    there: Any = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
    asked: Any = ray.remote(num_cpus=0, scheduling_strategy=there)(gpus)
    try:
        told, why = ray.get(asked.remote(), timeout=SECONDS), "nvidia-smi tells of none"
    except (RayError, GetTimeoutError) as error:
        told, why = [], str(error).strip().partition("\n")[0]
    known = [gpu["memory"] for gpu in told if gpu["memory"]]
    if not known:
        raise ValueError(
            f"run.gpus_per_slot is 'auto', but the GPUs of node {node['NodeManagerHostname']} do not tell "
            f"their memory ({why}): give a number, such as 0.5 for two slots a GPU"
        )
    return known
