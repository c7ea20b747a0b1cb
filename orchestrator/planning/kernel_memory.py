"""Memory that compiled kernels take in a part of a tile of grafts (`tasks.kernels.compiled`)."""

from __future__ import annotations

from espalier.orchestrator.planning.tile_load import Load
from espalier.tasks.kernels.compiled import cross_bytes, filter_bytes, suits, work_bytes
from espalier.tasks.networks.architectures import output_size
from espalier.tasks.networks.cuts import Arm, all_arms, arm_sizes
from espalier.tasks.spec import in_float32


def kernel_bytes(load: Load) -> int:
    """Bytes for cross terms of the largest arm, for filters of all targets, and for a conv's work.

    They are counted whether the kernels may be used or not, and none on maps that they do not take.
    """
    crosses = max((arm_bytes(load, arm) for arm in all_arms(load.cuts)), default=0)
    targets = {target for (_, target), _ in load.ends}
    filters = load.targets * max(filter_bytes(target) for target in targets)
    return crosses + filters + max(work_bytes(target) for target in targets)


def arm_bytes(load: Load, arm: Arm) -> int:
    """Of the cross terms of an arm."""
    products, written, size = 0, 0, None
    for (source, target), count in load.ends:
        sizes = arm_sizes(source, target, arm)
        if in_float32(load.options.products, sizes.shape[0]) and suits(sizes.map, sizes.shape):
            products += count * sizes.shape[0] * sizes.out
            written, size = max(written, sizes.out), output_size(sizes.map, sizes.shape)
    if size is None:
        return 0
    read = sum(count * arm_sizes(net, load.frame, arm).shape[0] for net, count in load.sources)
    return cross_bytes(size, read, load.targets * written, products)
