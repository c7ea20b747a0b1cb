"""What a worker does in the training benchmark: Espalier's own jobs, and its kernels by themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

from espalier.cluster.pool import Job, Output
from espalier.orchestrator.running.execute import execute as execute_job

PRODUCTS = 12


def execute(job: Job, blobs: Mapping[str, bytes]) -> Output:
    """A job of Espalier's; `gemm`, the rate of products; `kernels`, seconds of `benchmarks.kernels`."""
    device = job.where.get("device", "cpu")
    if job.kind == "gemm":
        return _number(rate(device))
    if job.kind == "kernels":
        from benchmarks.kernels import kernel_seconds
        from espalier.tasks.worker.devices import use
        from espalier.tasks.worker.kept_memory import kept_memory

        use(device)
        with kept_memory():
            return _number(kernel_seconds(job.payload, device))
    return execute_job(job, blobs)


def _number(value: float) -> Output:
    return Output(blobs={"number": json.dumps(value).encode()})


def rate(device: str) -> float:
    """Operations per second of some products of square matrices, one after another, on the wall's clock."""
    import torch

    from benchmarks.timing import GEMM_SIZE
    from espalier.tasks.seeds import stream

    torch.set_num_threads(1)
    square = torch.randn(GEMM_SIZE, GEMM_SIZE, generator=stream("gemm")).to(device)
    last = square @ square
    last[0, 0].item()  # waits for a GPU
    start = time.perf_counter()
    for _ in range(PRODUCTS):
        last = square @ square
    last[0, 0].item()
    return PRODUCTS * 2.0 * GEMM_SIZE**3 / (time.perf_counter() - start)
