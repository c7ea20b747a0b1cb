"""Jobs of the kind `probe`: how a net is trained fastest, and whether a way of training keeps its bits."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from espalier.tasks.jobs.worker_inputs import Inputs, Results
from espalier.tasks.spec import BitsTest, Probe
from espalier.tasks.training import bit_company
from espalier.tasks.training.probe import find, named


def answer(asked: Probe | BitsTest, inputs: Inputs) -> Results:
    """Measure how a net is trained fastest, or test a way."""
    return Results(answer=_tested(asked, inputs) if isinstance(asked, BitsTest) else _measured(asked, inputs))


def _measured(probe: Probe, inputs: Inputs) -> dict[str, Any]:
    """The way that was chosen, all times, and `bits`: by conditions and way, whether they were kept."""
    found = find(probe, inputs.device)
    mode, nets = found.chosen
    kept = {mode.of(nets): held for (mode, nets), held in found.kept.items()}
    told = {**asdict(mode), "nets": nets, "ms_per_step": named(found.seconds)}
    return told | ({"bits": {bit_company.conditions(probe, inputs.device): kept}} if kept else {})


def _tested(asked: BitsTest, inputs: Inputs) -> dict[str, Any]:
    """The worker's conditions, and whether bits were `kept` where that was not known."""
    here = bit_company.conditions(asked.probe, inputs.device)
    if here in asked.tested:
        return {"conditions": here}
    return {
        "conditions": here,
        "kept": bit_company.keeps_bits(asked.probe, asked.mode, asked.nets, inputs.device),
    }
