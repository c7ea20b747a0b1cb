"""How nets are trained fastest on this machine: measured once for a sweep's folder, and kept there.

Ways to train differ by rounding, so a folder that was begun one way goes on that way. `probes.json` may be
deleted to measure again. Whether a way of training nets together keeps their bits is tested on each machine
anew (`orchestrator.running.recorded_bits`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Self, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from espalier.cluster.pool import Done, Failed, Job, Pool
from espalier.orchestrator.planning.identity import probe_key
from espalier.orchestrator.planning.kind import SINGLY, Choice
from espalier.orchestrator.planning.kinds.train_cost import train_seconds
from espalier.orchestrator.planning.net_cost import forward_flops
from espalier.orchestrator.store.json_shape import shaped
from espalier.orchestrator.store.sweep_store import Store
from espalier.tasks.data.images import DataFacts
from espalier.tasks.kernels.compiled import ROUNDING
from espalier.tasks.spec import COMPILED, BitsTest, Layout, NetSpec, Probe, Snapshot, TrainMode, TrainSegment

RECORD = "probes.json"

WORTH_SECONDS = 3.0
"""All training of nets that is shorter by the planner's model is not worth a measurement."""

LIMIT_SECONDS = 3600.0
"""A question that takes longer is taken for hung: answers take seconds, those of large nets minutes."""


@dataclass(frozen=True)
class Alike:
    """Nets that are trained equally fast.

    Attributes:
        net: One of them.
        nets: How many there are.
        seconds: About what their training takes.
        last_batch: Images of an epoch's last batch, 0 if that is whole. (Recipes that leave images out by
            `class_keep` count as if they did not.)
    """

    net: NetSpec
    nets: int
    seconds: float
    last_batch: int = 0

    @property
    def probe(self) -> Probe:
        """The measurement of their training."""
        recipe, architecture = self.net.recipe, self.net.architecture
        flops = 3 * recipe.batch_size * forward_flops(architecture)
        return Probe(self.net, self.nets, flops, self.last_batch)


class Answer(BaseModel):
    """What `probes.json` says of one kind of net; more fields are for whoever reads the file.

    Attributes:
        grouped, layout, compiled: The mode of training.
        nets: How many are trained together.
        bits: Whether a way kept a net's bits, by the conditions under which it was tested and by the way.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    grouped: bool
    layout: Layout
    compiled: bool = False
    nets: Annotated[int, Field(ge=1)]
    bits: dict[str, dict[str, bool]] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_before(cls, value: Any) -> Any:
        """The layout as it was written before there were compiled kernels."""
        if isinstance(value, dict) and "channels_last" in value:
            told = cast("dict[str, Any]", value)
            return {"layout": "channels_last" if told["channels_last"] else "contiguous", **told}
        return cast("Any", value)

    @model_validator(mode="after")
    def _can_be_compiled(self) -> Self:
        mode = TrainMode(self.grouped, self.layout, self.compiled)
        if mode.compiled and mode != COMPILED:
            raise ValueError(f"is '{mode.name}', but compiled is '{COMPILED.name}' alone")
        return self


Record = Mapping[str, Mapping[str, Any]]
"""What `probes.json` holds, by `probe_key`: each value has what an `Answer` has."""

_SCHEMA = TypeAdapter(dict[str, Answer])


def read_record(store: Store) -> Record:
    """What was measured in a folder; empty if nothing was.

    Raises:
        ValueError: The file is broken.
    """
    found = store.read_json(RECORD)
    if found is not None:
        _checked(found)
    return found or {}


def choices(store: Store) -> dict[str, Choice]:
    """What was measured in a folder, as choices by `probe_key`. Raises as `read_record`."""
    return {key: choice(key, answer) for key, answer in read_record(store).items()}


def choice(key: str, answer: Mapping[str, Any]) -> Choice:
    """An answer as a choice.

    Raises:
        ValueError: It lacks something, or is no way that nets can be trained.
    """
    said = _checked({key: answer})[key]
    return Choice(TrainMode(said.grouped, said.layout, said.compiled), said.nets)


def _checked(found: Any) -> dict[str, Answer]:
    return shaped(found, _SCHEMA, RECORD, "delete the file, and it is measured again")


def alike(nets: Sequence[NetSpec], epochs: int, facts: DataFacts, device: str) -> dict[str, Alike]:
    """The nets of a whole sweep by what their speed depends on."""
    by_key: dict[str, list[NetSpec]] = defaultdict(list)
    for net in nets:
        by_key[probe_key(net, device)].append(net)
    return {key: _alike(some, epochs, facts) for key, some in by_key.items()}


def _alike(nets: Sequence[NetSpec], epochs: int, facts: DataFacts) -> Alike:
    seconds = len(nets) * train_seconds(_whole(nets[0], epochs), facts)
    return Alike(nets[0], len(nets), seconds, facts.train % nets[0].recipe.batch_size)


def _whole(net: NetSpec, epochs: int) -> TrainSegment:
    return TrainSegment(Snapshot("", "", net, epochs), None, False)


Log = Callable[[dict[str, Any]], None]
"""Takes a row of table `jobs`."""
Now = Callable[[], datetime]


Where = Mapping[str, Any]
"""On what jobs compute, and by which kernels: it goes into each."""


def probe(pool: Pool, wanted: Mapping[str, Alike], where: Where, log: Log, now: Now) -> dict[str, Any]:
    """Measure what is worth it, on the pool that will train; an answer for each key.

    A probe that fails has no answer, so that its nets are trained one by one in this run.
    """
    long = {key: some for key, some in wanted.items() if some.seconds >= WORTH_SECONDS and some.nets > 0}
    answers = {key: _plain(SINGLY) | {"why": "short"} for key in wanted.keys() - long.keys()}
    asked = {key: some.probe for key, some in long.items()}

    def tell(event: Done | Failed, answer: dict[str, Any], start: datetime) -> None:  # noqa: ARG001
        log(row(event, f"probe width {wanted[event.key].net.width}", start))

    answers |= ask(pool, asked, where, tell, now)
    # What failed may be measured by the next run.
    whole = [key for key in sorted(answers) if "error" not in answers[key]]
    return {key: _said(wanted[key], where["device"]) | _rounded(answers[key]) for key in whole}


def _rounded(answer: dict[str, Any]) -> dict[str, Any]:
    """With the kernels whose rounding the folder's nets will have, if they are trained by some."""
    return {**answer, "kernels": [ROUNDING]} if answer.get("compiled") else answer


def ask(
    pool: Pool,
    asked: Mapping[str, Probe | BitsTest],
    where: Where,
    log: Callable[[Done | Failed, dict[str, Any], datetime], None],
    now: Now,
) -> dict[str, dict[str, Any]]:
    """Have the pool answer questions; what fails has `error` alone.

    `log` gets each end, its answer, and the start.
    """
    answers, start = dict[str, dict[str, Any]](), now()
    for key, payload in asked.items():
        pool.submit(Job(key, "probe", payload, (), dict(where), LIMIT_SECONDS), 1)
    while len(answers) < len(asked):
        for event in pool.wait(1.0):
            answers[event.key] = _answer(event)
            log(event, answers[event.key], start)
    return answers


def _answer(event: Done | Failed) -> dict[str, Any]:
    if isinstance(event, Failed):
        return {"error": event.error}
    return event.output.answer


def _plain(choice: Choice) -> dict[str, Any]:
    return {**asdict(choice.mode), "nets": choice.nets}


def _said(some: Alike, device: str) -> dict[str, Any]:
    """For whoever reads the file."""
    return {"architecture": some.net.family, "width": some.net.width, "device": device}


def row(event: Done | Failed, label: str, start: datetime) -> dict[str, Any]:
    """A probe as a row of table `jobs`."""
    failed = isinstance(event, Failed)
    return {
        "key": event.key,
        "kind": "probe",
        "label": label,
        "attempt": event.attempt,
        "node": event.node,
        "device": event.device,
        "start": start,
        "seconds": event.seconds,
        "flops": 0.0,
        "bytes_in": 0,
        "outcome": "failed" if failed else "done",
        "error": " ".join(event.error.split())[:2000] if failed else "",
        "mode": "",
        "cause": event.reason if failed else "",
    }
