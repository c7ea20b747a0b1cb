"""Jobs of the kind `tune`: some epochs of a trial's nets."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.networks.checkpoint import pack_state, unpack_state
from espalier.tasks.spec import TrialSegment
from espalier.tasks.training.train import State, initial_state
from espalier.tasks.training.trial import train_trial


def train_trial_nets(segment: TrialSegment, inputs: Inputs) -> Results:
    """Train a trial's nets for some epochs; the answer is their curves, the blobs are their states."""
    blobs = inputs.blobs
    data, _ = inputs.images(segment.nets[0].data)
    packed = dict(zip((net.seed for net in segment.nets), blobs.values(), strict=bool(blobs)))
    states = {
        net.seed: State(*unpack_state(packed[net.seed])) if blobs else initial_state(net)
        for net in segment.nets
    }
    rows, after = train_trial(segment, states, data)
    packed_after = {
        name: pack_state(after[net.seed].parameters, after[net.seed].momentum, after[net.seed].epoch)
        for name, net in zip(inputs.where["states"], segment.nets, strict=True)
    }
    return Results(blobs=packed_after, answer=rows)
