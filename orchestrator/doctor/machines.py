"""What the nodes' clocks, disks and shared memory are like."""

from __future__ import annotations

from collections.abc import Iterator

from espalier.orchestrator.doctor.finding import GIB, Finding, Node, Nodes, Wanted, machines, names

SKEW_WARN, SKEW_BAD = 2.0, 300.0
"""Seconds that clocks may differ. Beyond the first, times in logs and tables mislead; S3 refuses requests
that are 15 minutes off (RequestTimeTooSkewed)."""
FULL_SHARE = 0.95
"""Of the disk of Ray's temporary folder; then it makes no objects (`RAY_local_fs_capacity_threshold`)."""
TEMP_WARN, DISK_WARN, DISK_BAD, SHM_LEAST = 10 * GIB, 5 * GIB, GIB // 4, GIB


def clocks(nodes: Nodes, wanted: Wanted) -> Iterator[Finding]:
    """Whether the nodes' clocks agree with the driver's, as far as the way there and back lets one know."""
    most = 0.0
    for node in nodes:
        if node.skew is None:
            continue
        ahead, error = node.skew["seconds"], node.skew["error"]
        most = max(most, abs(ahead) + error)
        if abs(ahead) - error > SKEW_WARN:
            yield Finding(
                "bad" if abs(ahead) - error > SKEW_BAD else "warn",
                "clock",
                f"{node.name} is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine",
                "run chrony or ntpd on every node",
            )
    if wanted.cluster and most <= SKEW_WARN:
        yield Finding("ok", "clock", f"clocks agree within {most:.2f} s")


def places(nodes: Nodes, wanted: Wanted) -> Iterator[Finding]:
    """Whether the nodes see the images and the results."""
    lacking = [node for node in nodes if node.has is False]
    if lacking:
        yield Finding(
            "bad",
            "images",
            f"{wanted.images} is not on {names(lacking)}",
            "copy it there, or let data.dataset name a path that all nodes share, or a URL",
        )
    elif wanted.images:
        yield Finding("ok", "images", f"{wanted.images} is on every node")
    if wanted.cluster and wanted.place:
        yield _results(nodes, wanted.place)


def _results(nodes: Nodes, place: str) -> Finding:
    apart = [node for node in nodes if node.shared is False]
    if "://" in place:
        return Finding("ok", "results", f"{place} is a URL, which the driver and the workers must reach")
    if any(node.shared is None for node in nodes):
        return Finding(
            "warn",
            "results",
            f"{place} does not exist or cannot be written to, so whether nodes share it is not known",
            f"mkdir -p {place}, and ask again",
        )
    if not apart:
        return Finding("ok", "results", f"{place} is on a disk that every node shares")
    return Finding(
        "warn",
        "results",
        f"{place} is on the driver's own disk, which {names(apart)} do not see",
        "that works, and all results go through the driver; to keep them when its machine ends, give a disk "
        "that outlives it or a URL (--results)",
    )


def disks(nodes: Nodes, _: Wanted) -> Iterator[Finding]:
    """Free space where Ray and the results go."""
    places = machines(nodes, lambda node: node.facts["temp"]["path"])
    found = [finding for node in places for finding in _temporary(node)]
    found += [finding for node in nodes for finding in _kept(node)]
    yield from found
    if not found:
        least = min(node.facts["temp"]["free"] for node in nodes)
        yield Finding("ok", "disk", f"at least {least / GIB:.0f} GiB free in Ray's temporary folder")


def _temporary(node: Node) -> Iterator[Finding]:
    temp = node.facts["temp"]
    free = f"{node.name}: {temp['path']} has {temp['free'] / GIB:.1f} GiB free"
    if temp["free"] < (1 - FULL_SHARE) * temp["size"]:
        yield Finding(
            "bad",
            "disk",
            f"{free}, less than 5 %: Ray makes no objects there",
            "free space, or give Ray a larger disk: --temp-dir of `ray start`, RAY_TMPDIR of a run",
        )
    elif temp["free"] < TEMP_WARN:
        yield Finding("warn", "disk", free, "free space: Ray spills objects and writes its logs there")


def _kept(node: Node) -> Iterator[Finding]:
    disk = node.facts["disk"]
    if disk and disk["free"] < DISK_WARN:
        yield Finding(
            "bad" if disk["free"] < DISK_BAD else "warn",
            "disk",
            f"{disk['path']} has {disk['free'] / GIB:.2f} GiB free for results",
            "free space, or keep the results elsewhere (--results)",
        )


def shared_memory(nodes: Nodes, _: Wanted) -> Iterator[Finding]:
    """Whether Ray's object store fits into /dev/shm."""
    short = False
    for node in machines(nodes):
        size = node.facts["shm"]["size"]
        needed = max(SHM_LEAST, node.resources.get("object_store_memory", 0))
        if size < needed:
            short = True
            yield Finding(
                "warn",
                "shm",
                f"{node.name}: /dev/shm has {size / GIB:.2f} GiB, and Ray's object store wants "
                f"{needed / GIB:.2f}, so that it lies on disk and is slow",
                "start the container with --shm-size (Kubernetes: an emptyDir of medium Memory at /dev/shm)",
            )
    if not short:
        least = min(node.facts["shm"]["size"] for node in nodes)
        yield Finding("ok", "shm", f"/dev/shm has at least {least / GIB:.1f} GiB")
