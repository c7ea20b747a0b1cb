"""What a worker does with a job: give its kind's function the inputs, and hand back what came of it.

Imported by workers; torch is loaded when the first job runs, so that planning never loads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from espalier.cluster.pool import Job, Output, described
from espalier.orchestrator.planning.kinds.registry import kind_of
from espalier.orchestrator.running.worker_blobs import brought, shelved
from espalier.tasks.tables.rows import table


def execute(job: Job, blobs: Mapping[str, bytes]) -> Output:
    """Run a job on the blobs that the pool sent; the tables come in the order in which they are published.

    Raises:
        KeyError: A kind of job that does not exist.
        ShelfError: The job is to use the shared store, which cannot be reached, or takes no more.
        MemoryError: There was too little, of a GPU's too.
    """
    from espalier.tasks.jobs.worker_inputs import Inputs
    from espalier.tasks.kernels.compiled import kernels
    from espalier.tasks.worker.devices import use
    from espalier.tasks.worker.kept_memory import kept_memory
    from espalier.tasks.worker.out_of_memory import as_memory_error

    inputs = Inputs(brought(job, blobs), job.where)
    use(inputs.device)
    with as_memory_error(), kept_memory(), kernels(job.where.get("kernels", "auto")) as use_of_kernels:
        results = _function(kind_of(job.kind).work)(job.payload, inputs)
    shelf = job.shelf if job.shelf and job.shelf.takes else None
    return Output(
        {name: table(name, rows) for name, rows in results.rows.items()},
        {} if shelf else results.blobs,
        shelved(shelf, results.blobs) if shelf else {},
        {key: described(error) for key, error in results.failures.items()},
        (*use_of_kernels.notes, *inputs.notes),
        results.answer,
    )


def _function(place: str) -> Any:
    """What `"module:function"` names."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
