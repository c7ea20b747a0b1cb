"""Pairs are columns: they read like the pairs that they stand for, and planning a pair runs no Python."""

from dataclasses import replace

import numpy as np
import pytest

from espalier.orchestrator.config.sweep_config import SweepConfig
from espalier.orchestrator.planning.kind import Have
from espalier.orchestrator.planning.kinds.graft_tiles import first_uses
from espalier.orchestrator.planning.kinds.grafts import GRAFTS
from espalier.orchestrator.planning.kinds.pair_blocks import graft_key
from espalier.orchestrator.planning.kinds.wanted_pairs import WantedPairs
from espalier.orchestrator.planning.plan import make_plan, scope_of
from espalier.orchestrator.planning.task import Limits
from espalier.orchestrator.store.piece_set import PieceSet
from espalier.tasks.data.images import facts
from espalier.tasks.grafting.nulls.known_nulls import NULLS
from espalier.tasks.spec import PAIRINGS, STATISTICS
from tests.orchestrator.planning.calls import calls

DIGITS, ROOMY = facts("digits"), Limits(2**40, 3)


def config(seeds, widths=(2, 3), nulls=NULLS, pairings=("same_width",), batch_norm=False, **sweep):
    return SweepConfig.parse(
        {
            "network": {"layers": [1, "pool", 1, 1], "batch_norm": batch_norm},
            "sweep": {"widths": list(widths), "seeds": seeds, **sweep},
            "train": {"epochs": 2, "snapshots": [0, 1, 2], "schedule": "constant"},
            "graft": {"nulls": list(nulls), "pairings": list(pairings), "skips": [1], "bn": ["target"]},
        }
    )


def wanted(sweep):
    return GRAFTS.wanted(scope_of(sweep, DIGITS, Have(), ROOMY, {}, {}))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "batch-norm"])
def everything(request):
    rates = {"cross": {"train.lr": [0.01, 0.03]}}
    return wanted(config(3, pairings=PAIRINGS, batch_norm=request.param, **rates))


def test_the_column_of_keys_is_the_key_of_each_pair(everything):
    pairs = list(everything)
    assert len({pair.options for pair in pairs}) == 2  # with and without a layer left out
    assert [pair.key for pair in pairs] == [
        graft_key(pair.source, pair.target, pair.null, pair.options) for pair in pairs
    ]
    assert everything.keys.astype(str).tolist() == [pair.key for pair in pairs]


def test_every_pair_is_there_once(everything):
    assert len(set(everything.keys.tolist())) == len(everything)


def test_where_no_bn_is_its_statistics_are_no_part_of_a_key(everything):
    normed = any(layer.batch_norm for layer in everything[0].target.net.architecture.layers)
    assert {pair.options.statistics for pair in everything} == {("target",) if normed else STATISTICS}


def test_columns_and_a_list_of_pairs_are_the_same(everything):
    pairs = list(everything)
    again = WantedPairs.of(pairs)
    assert list(again) == pairs
    assert again.reads == everything.reads == {snap.key for pair in pairs for snap in pair.reads}
    assert WantedPairs.of(everything) is everything


def test_pairs_are_read_by_place_and_by_slice(everything):
    pairs = list(everything)
    assert [everything[0], everything[-1], everything[7]] == [pairs[0], pairs[-1], pairs[7]]
    assert everything[5:40:3] == tuple(pairs[5:40:3])
    with pytest.raises(IndexError):
        everything[len(pairs)]


def test_some_of_the_pairs_are_those_of_the_mask(everything):
    barred = everything[10].source
    which = everything.reading(lambda snap: snap == barred)
    pairs = list(everything)
    assert list(everything.that(which)) == [pair for pair in pairs if barred in pair.reads]
    assert barred.key not in everything.that(~which).reads


def test_values_are_numbered_by_their_first_use():
    first, which = first_uses(np.array([7, 3, 7, 9, 3]))
    assert (first.tolist(), which.tolist()) == ([0, 1, 3], [0, 1, 0, 2, 1])


def test_no_pairs_are_no_jobs():
    pairs = wanted(config(2))
    nothing = pairs.that(np.zeros(len(pairs), np.bool_))
    assert (len(nothing), list(nothing), nothing.reads) == (0, [], frozenset())
    assert list(WantedPairs.of([])) == []


def test_planning_runs_python_for_each_net_and_not_for_each_pair():
    def work(seeds):
        sweep = config(seeds, widths=(2,), nulls=())
        return calls(lambda: make_plan(sweep, DIGITS, Have(), Limits(2**40, 2)))

    seeds = 20, 40, 60
    for count in seeds:
        work(count)  # what is computed once is kept
    few, more, many = map(work, seeds)
    pairs = [3 * count * (count - 1) for count in seeds]
    bend = pairs[2] - 2 * pairs[1] + pairs[0]
    assert more - few > 20  # each net costs the same, so that only what pairs cost bends the line
    assert many - 2 * more + few < bend / 10


def test_what_is_there_is_looked_up_without_python_for_each_pair():
    sweep = config(40, widths=(2,), nulls=())  # so many that all of them are sorted
    pairs = wanted(sweep)
    tables = GRAFTS.done_in(sweep)
    present = {table: PieceSet(table) for table in tables}
    for pieces in present.values():
        pieces.add_codes(np.sort(pairs.keys))
    made = make_plan(sweep, DIGITS, Have(present), ROOMY)
    assert made.done["graft"] == made.total["graft"] == len(pairs) == 3 * 40 * 39
    half = replace(Have(), present={**present, tables[-1]: {(key.decode(),) for key in pairs.keys[::2]}})
    rest = make_plan(sweep, DIGITS, half, ROOMY)
    assert rest.done["graft"] == len(pairs) // 2
    planned = [
        key for task in rest.tasks if task.job.kind == "graft" for key in task.job.payload.pairs.keys.tolist()
    ]
    assert sorted(planned) == sorted(pairs.keys[1::2].tolist())
    lookup = calls(lambda: Have(present).lacks(tables[0], pairs.keys))
    assert lookup < 100
