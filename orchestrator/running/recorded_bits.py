"""Whether the ways of training that a folder records keep a net's bits on the machine that trains now.

A way of training nets together keeps their bits on one processor, and on another it may not. So a run asks
its pool before it trains: under conditions that the folder knows, the answer is there; under new ones the way
is tested and the answer kept in `probes.json`. Where a way does not hold, its nets are trained one by one.

Compiled kernels round as their version does (`tasks.kernels.compiled.ROUNDING`): the record lists, under
`kernels`, the versions by which a folder's nets were trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from espalier.cluster.pool import Done, Failed, Pool
from espalier.orchestrator.planning.kind import Choice
from espalier.orchestrator.planning.kinds.train_groups import plainest
from espalier.orchestrator.running.probing import (
    RECORD,
    Alike,
    Log,
    Now,
    Record,
    Where,
    ask,
    choice,
    probe,
    read_record,
    row,
)
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.kernels.compiled import ROUNDING, kernels, usable
from espalier.tasks.spec import BitsTest

Choices = dict[str, Choice]


@dataclass(frozen=True)
class Verdict:
    """What became of one recorded way on this run's machine; `error` if it could not be tested."""

    choice: Choice
    conditions: str = ""
    kept: bool = False
    error: str = ""

    @property
    def instead(self) -> Choice:
        """What is done in this run: the recorded way, or the plainest one in its layout."""
        return self.choice if self.kept else Choice(plainest(self.choice.mode))


def settle(
    store: Store, pool: Pool, wanted: Mapping[str, Alike], where: Where, now: Now
) -> tuple[Choices, list[str]]:
    """How this run trains nets, and what to tell of it.

    What the folder has no measurement of is measured, the ways that it has are judged, and both are kept.
    """
    record = read_record(store)
    known = {key: some for key, some in wanted.items() if key in record}
    new = {key: some for key, some in wanted.items() if key not in record}
    verdicts = judge(pool, record, known, where, store.append_job, now)
    newer = rounded_anew(record, known)
    newer = newer if newer and _has_kernels(where) else {}
    after = recorded(record, verdicts) | newer | probe(pool, new, where, store.append_job, now)
    if after != record:
        store.write_json(RECORD, after)
    chosen = {key: choice(key, answer) for key, answer in after.items()}
    ways = chosen | {key: verdict.instead for key, verdict in verdicts.items()}
    return ways, notes(verdicts, known) + rounding_notes(newer, known)


def judge(
    pool: Pool, record: Record, wanted: Mapping[str, Alike], where: Where, log: Log, now: Now
) -> dict[str, Verdict]:
    """Of the recorded ways of `wanted` nets those that train nets together, each tested where it is new."""
    choices = {key: choice(key, record[key]) for key in wanted}
    tests = {
        key: BitsTest(wanted[key].probe, chosen.mode, chosen.nets, tuple(_known(record[key], chosen)))
        for key, chosen in choices.items()
        if chosen.mode.grouped
    }

    def tell(event: Done | Failed, answer: dict[str, Any], start: datetime) -> None:
        if "conditions" not in answer or "kept" in answer:  # a test, rather than a look
            log(row(event, f"test of bits, width {wanted[event.key].net.width}", start))

    answers = ask(pool, tests, where, tell, now)
    return {key: _verdict(choices[key], record[key], answer) for key, answer in answers.items()}


def _known(answer: Mapping[str, Any], chosen: Choice) -> dict[str, bool]:
    """Whether a way kept bits, by the conditions under which it was tested."""
    way = chosen.mode.of(chosen.nets)
    return {where: kept[way] for where, kept in answer.get("bits", {}).items() if way in kept}


def _verdict(chosen: Choice, recorded: Mapping[str, Any], answer: Mapping[str, Any]) -> Verdict:
    if "error" in answer:
        return Verdict(chosen, error=answer["error"])
    here = answer["conditions"]
    kept = answer["kept"] if "kept" in answer else _known(recorded, chosen)[here]
    return Verdict(chosen, here, kept)


def recorded(record: Record, verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """The record with what was found."""
    found: dict[str, Any] = dict(record)
    for key, verdict in verdicts.items():
        if verdict.conditions:
            bits = found[key].get("bits", {})
            here = bits.get(verdict.conditions, {}) | {
                verdict.choice.mode.of(verdict.choice.nets): verdict.kept
            }
            found[key] = {**found[key], "bits": bits | {verdict.conditions: here}}
    return found


def rounded_anew(record: Record, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The answers of `wanted` nets that kernels of another rounding trained so far, with this one added."""
    trained = {key: record[key] for key in wanted if record[key].get("compiled")}
    # Before it was written down there was one alone.
    by = {key: answer.get("kernels", [1]) for key, answer in trained.items()}
    new = {key: [*some, ROUNDING] for key, some in by.items() if ROUNDING not in some}
    return {key: {**trained[key], "kernels": versions} for key, versions in new.items()}


def _has_kernels(where: Where) -> bool:
    """Whether kernels can be used, on this machine for all."""
    with kernels(where["kernels"]):
        return usable()


def rounding_notes(newer: Record, wanted: Mapping[str, Alike]) -> list[str]:
    """What to tell of nets whose kernels round otherwise than those that trained them so far."""
    nets = sorted(f"{wanted[key].net.family} of width {wanted[key].net.width}" for key in newer)
    if not nets:
        return []
    return [
        f"nets of this folder were trained by compiled kernels of another version than {ROUNDING}, which is "
        f"used now: those that are trained from now on have other bits ('kernels' in {RECORD}): "
        + ", ".join(nets)
    ]


def notes(verdicts: Mapping[str, Verdict], wanted: Mapping[str, Alike]) -> list[str]:
    """What to tell of ways that do not hold here, a line for each way and reason."""
    lost: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for key, verdict in verdicts.items():
        if not verdict.kept:
            way, net = verdict.choice.mode.of(verdict.choice.nets), wanted[key].net
            reason = (
                f"could not be tested on this machine ({verdict.error})"
                if verdict.error
                else f"makes a net's bits depend on its company on this machine ({verdict.conditions})"
            )
            lost[way, reason, verdict.instead.mode.name].append(f"{net.family} of width {net.width}")
    return [
        f"this folder trains nets by '{way}', which {reason}; trained by '{instead}' in this run: "
        + ", ".join(sorted(nets))
        for (way, reason, instead), nets in lost.items()
    ]
