"""Jobs of the kind `tune`: some epochs of a trial's nets."""

from __future__ import annotations

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.networks.checkpoint import pack_state
from espalier.tasks.spec import TrialSegment, key_of
from espalier.tasks.training.trial import train_trial


def train_trial_nets(segment: TrialSegment, inputs: Inputs) -> Results:
    """Train a trial's nets for some epochs; the answer is their curves, the blobs are their states."""
    data, _ = inputs.images(segment.nets[0].data)
    read = inputs.states(segment.nets, [segment.start] * len(segment.nets))
    states = {net.seed: state for net, state in zip(segment.nets, read, strict=True)}
    rows, after = train_trial(segment, states, data)
    ended = zip(inputs.where["states"], (after[net.seed] for net in segment.nets), strict=True)
    blobs = {
        name: pack_state(state.parameters, state.momentum, state.epoch, key_of(name)) for name, state in ended
    }
    return Results(blobs=blobs, answer=rows)
