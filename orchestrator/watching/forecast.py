"""What a sweep would take on a cluster: time, hours of GPUs, money, memory, and what idles."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from espalier.orchestrator.config.sweep_config import ConfigError, SweepConfig
from espalier.orchestrator.planning.idle_slots import Idle
from espalier.orchestrator.planning.plan import Plan
from espalier.orchestrator.planning.rates import ON_A_GPU, OWN, Rates, crowd, gemm_rate, on_device, rates
from espalier.orchestrator.planning.simulate import Fleet, Forecast, makespan, simulate
from espalier.orchestrator.running.progress import duration
from espalier.orchestrator.sweep import Sweep
from espalier.orchestrator.watching.status import by_kind

WORTH_TELLING = 0.03
"""Share of the slots' time from which an idle stretch is told; of these the largest few."""
TOLD = 3
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True)
class Cluster:
    """The machines that are asked about; without `nodes` this one, as `run.slots` says.

    Attributes:
        nodes: How many nodes, all alike.
        gpus: GPUs of each.
        cpus: Cores of each, without GPUs; as this machine by default.
        gpu_tflops: TFLOP/s of float32 matrix products of a GPU, where no job was measured.
        price: Of an hour of a node, in whatever currency.
        calibrate: Folder of a sweep whose jobs tell how fast a slot is.
        loss_every: Seconds after which a node is lost, again and again.
        replaced_after: Seconds until its successor works.
    """

    nodes: int | None = None
    gpus: int = 0
    cpus: int | None = None
    gpu_tflops: float = 30.0
    price: float | None = None
    calibrate: str | None = None
    loss_every: float = math.inf
    replaced_after: float = 300.0


@dataclass(frozen=True)
class Foreseen:
    """A plan, and what it comes to on a fleet; `least` are the seconds that no number of slots goes below."""

    plan: Plan
    cluster: Cluster
    fleet: Fleet
    speed: Rates
    forecast: Forecast
    least: float

    @property
    def node_hours(self) -> float:
        """Hours of nodes, those between a loss and the successor left out."""
        return self.forecast.node_seconds / 3600

    @property
    def gpu_hours(self) -> float:
        """Hours of GPUs, idle or not."""
        return self.node_hours * self.cluster.gpus

    @property
    def money(self) -> float | None:
        """What the nodes cost."""
        return None if self.cluster.price is None else self.cluster.price * self.node_hours

    def plain(self) -> dict[str, Any]:
        """As JSON values; seconds and bytes throughout."""
        made = self.forecast
        return {
            "kinds": by_kind(self.plan),
            "nodes": self.fleet.nodes,
            "slots": self.fleet.nodes * self.fleet.slots,
            "seconds": made.seconds,
            "least_seconds": self.least,
            "node_hours": self.node_hours,
            "gpu_hours": self.gpu_hours,
            "money": self.money,
            "utilisation": made.utilisation,
            "memory": {"node": made.node_memory, "job": made.slot_memory},
            "bytes_read_per_node": made.node_bytes,
            "busy_slot_seconds": made.busy,
            "slot_seconds": made.slot_seconds,
            "idle": [asdict(gap) | {"slots": gap.slots} for gap in told(made)],
            "losses": {
                "nodes": made.lost_nodes,
                "attempts": made.lost_attempts,
                "slot_seconds": made.wasted,
                "given_up": made.given_up,
            },
            "speed": asdict(self.speed),
        }


def foresee(sweep: Sweep, cluster: Cluster) -> Foreseen:
    """Plan what is missing and simulate it.

    Raises:
        ConfigError: The config describes no sweep, a job does not fit a slot, a GPU has no slot, or the
            folder to calibrate by has no job that ended on such a device.
    """
    per_node = _slots_per_node(sweep, cluster)
    fleet = Fleet(cluster.nodes or 1, per_node, cluster.loss_every, cluster.replaced_after)
    plan = sweep.plan(fleet.nodes * per_node, slots_per_node=per_node if cluster.nodes else None)
    speed = _speed(sweep, cluster, per_node)
    there = set(sweep.store.blobs())
    made = simulate(plan.tasks, there, fleet, speed, sweep.config.run.attempts)
    return Foreseen(plan, cluster, fleet, speed, made, makespan(plan, there, max(1, len(plan.tasks)), speed))


def _on_gpus(sweep: Sweep, cluster: Cluster) -> bool:
    return bool(cluster.gpus) if cluster.nodes else sweep.config.run.device == "cuda"


def _slots_per_node(sweep: Sweep, cluster: Cluster) -> int:
    if not cluster.nodes:
        return sweep.slots
    if not cluster.gpus:
        return cluster.cpus or os.cpu_count() or 1
    share = _gpu_share(sweep.config)
    slots = int(cluster.gpus / share + 1e-9)
    if not slots:
        raise ConfigError(
            f"run.gpus_per_slot: {share:g} GPUs are asked for a slot, and a node has {cluster.gpus} (--gpus)"
        )
    return slots


def _gpu_share(config: SweepConfig) -> float:
    """GPUs of a slot; one where the cluster's GPUs are to be asked, which a plan cannot."""
    share = config.run.gpus_per_slot
    return 1.0 if config.run.device != "cuda" or share == "auto" else share


def _speed(sweep: Sweep, cluster: Cluster, per_node: int) -> Rates:
    """How fast a slot is: by another folder's jobs, by this one's, or by a matrix product."""
    gpu = _on_gpus(sweep, cluster)
    other = Sweep(cluster.calibrate) if cluster.calibrate else sweep
    log = on_device(other.store.read_table("jobs", skip_broken=True), gpu)
    origin = OWN if other is sweep else f"the jobs of {cluster.calibrate}"
    gemm = cluster.gpu_tflops * 1e12 if gpu else gemm_rate()
    cores = os.cpu_count() or 1
    if gpu:
        was, now = (crowd(1, _gpu_share(one.config)) for one in (other, sweep))
    else:
        was, now = crowd(other.slots, cores), 1.0 if cluster.nodes else crowd(per_node, cores)
    speed = rates(log, gemm, was, now, origin, ON_A_GPU if gpu else 1.0)
    if other is not sweep and not speed.origin.startswith(origin):
        raise ConfigError(
            f"--calibrate {cluster.calibrate}: no job of its sweep has ended on a {'GPU' if gpu else 'CPU'}: "
            "name a folder whose sweep has run on one"
        )
    return speed


def span(text: str) -> float:
    """A time span in seconds.

    >>> span("1h"), span("90 s"), span("2.5 min")
    (3600.0, 90.0, 150.0)

    Raises:
        ValueError: It is none, or not above zero.
    """
    read = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-z]+)\s*", text)
    if read is None or read[2] not in UNITS or not float(read[1]):
        raise ValueError(f"{text!r} is no time span above zero: write it like 1h, 30min or 90s")
    return float(read[1]) * UNITS[read[2]]


def told(made: Forecast) -> list[Idle]:
    """The idle stretches that cost most, in the order of time."""
    worth = [gap for gap in made.idle if gap.slot_seconds >= WORTH_TELLING * made.slot_seconds]
    largest = sorted(worth, key=lambda gap: -gap.slot_seconds)[:TOLD]
    return sorted(largest, key=lambda gap: gap.start)


def lines(seen: Foreseen) -> Iterator[str]:
    """For people, a line each."""
    made, slots = seen.forecast, seen.fleet.nodes * seen.fleet.slots
    if not seen.plan.tasks:
        yield "Nothing is missing."
        return
    on = f"{slots} slot{'' if slots == 1 else 's'}"
    yield f"Predicted time on {on}: {duration(made.seconds)}.{_bill(seen)}"
    if made.jobs:
        yield (
            f"Slots are at work {100 * made.utilisation:.0f} % of the time. A job holds up to "
            f"{made.slot_memory / 2**30:.1f} GiB, a node {made.node_memory / 2**30:.1f} GiB at once; "
            f"a node reads up to {made.node_bytes / 1e9:.2f} GB."
        )
    for gap in told(made):
        yield _idle(gap, seen)
    if told(made) and seen.least > 0:
        yield (
            f"The longest chain of jobs takes {duration(seen.least)}: "
            "with jobs cut as they are, no number of slots is faster."
        )
    if made.lost_nodes:
        yield _losses(made)
    yield f"Speed from {seen.speed.origin}."


def _bill(seen: Foreseen) -> str:
    if not seen.cluster.nodes and seen.money is None:
        return ""
    parts = [f"{seen.node_hours:,.2f} node hours"]
    if seen.cluster.gpus:
        parts.append(f"{seen.gpu_hours:,.1f} GPU hours")
    if seen.money is not None:
        parts.append(f"a price of {seen.money:,.2f} at {seen.cluster.price:g} an hour and node")
    return f" {', '.join(parts)}."


def _idle(gap: Idle, seen: Foreseen) -> str:
    made = seen.forecast
    share = 100 * gap.slots / (seen.fleet.nodes * seen.fleet.slots)
    until = "the end" if gap.end >= made.seconds else duration(gap.end)
    why = "all other work waits for" if gap.held_up else "no job is left to hand out; the last is"
    last = f"'{gap.last}'" if gap.last else "jobs at work"
    cost = 100 * gap.slot_seconds / made.slot_seconds
    return (
        f"{share:.0f} % of the slots idle from {duration(gap.start)} to {until} "
        f"({cost:.0f} % of all slots' time): {why} {last}."
    )


def _losses(made: Forecast) -> str:
    wasted = 100 * made.wasted / made.slot_seconds
    gone = f"; {made.given_up} jobs are given up, raise run.attempts" if made.given_up else ""
    return (
        f"{made.lost_nodes} nodes are lost: {made.lost_attempts} attempts at jobs are made again, "
        f"{wasted:.1f} % of the slots' time{gone}."
    )
