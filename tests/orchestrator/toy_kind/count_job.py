"""Jobs of the kind `count_parameters`."""

from espalier.tasks.jobs.worker_inputs import Results


def count_parameters(asked, inputs):
    (network,) = inputs.networks(asked.snapshots)
    number = sum(value.numel() for value in network.parameters.values())
    return Results({"parameter_counts": [{"key": asked.key, "parameters": number}]})
