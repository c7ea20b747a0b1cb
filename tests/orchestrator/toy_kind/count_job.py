"""Jobs of the kind `count_parameters`."""

from espalier.tasks.jobs.worker_inputs import Results


def count_parameters(unit, inputs):
    (network,) = inputs.networks([unit.snapshot])
    number = sum(value.numel() for value in network.parameters.values())
    return Results({"parameter_counts": [{"key": unit.key, "parameters": number}]})
