"""Answers that take no `by` refuse rows of several settings, modes of batch norm, or sweeps."""

import pandas as pd
import pytest

from espalier import asymmetry, excess, exchangeability, trajectory, variance_over_seeds
from espalier.tasks.tables.rows import table
from tests.analysis.compared_rows import compared_rows, epoch_rows, frame_of
from tests.analysis.more_rows import exchange_rows, pair_rows

PAIRS = pair_rows([((8, 20), (8, 20))], lambda *place: 0.1, layers=(2,))
DEALT = compared_rows(lambda *at: 0.5, ("energy",), widths=(4,), layers=(1,))
ALONG = epoch_rows(lambda first, last, pair: 0.1 * (last - first), "energy")
POOLS = exchange_rows(widths=(4, 8))


def of_labels(frame):
    return excess(similarity=frame)


@pytest.mark.parametrize(
    ("answer", "rows", "made"),
    [
        (asymmetry, PAIRS, lambda rows: table("grafts", rows).to_pandas()),
        (of_labels, DEALT, frame_of),
        (trajectory, ALONG, frame_of),
        (exchangeability, POOLS, lambda rows: table("exchangeability", rows).to_pandas()),
    ],
    ids=["asymmetry", "excess", "trajectory", "exchangeability"],
)
def test_rows_of_several_settings_or_sweeps_are_not_averaged(answer, rows, made):
    one = made(rows)
    assert len(answer(one))
    side = [name for name in ("source_", "target_") if name + "seed" in rows[0]]
    other = one.assign(**{f"{name}parametrization": "mup" for name in side})
    with pytest.raises(ValueError, match=r"parametrization' has several values .*mup.*: select rows"):
        answer(pd.concat([one, other]))
    with pytest.raises(ValueError, match="column 'sweep' has several values"):
        answer(pd.concat([one.assign(sweep="a"), one.assign(sweep="b")]))


def test_one_mode_of_batch_norm_is_to_be_chosen():
    one = table("grafts", PAIRS).to_pandas().assign(bn="target")
    both = pd.concat([one, one.assign(bn="reestimated", fvu_test=0.5)])
    with pytest.raises(ValueError, match=r"'bn' has several values .* first, such as bn == 'target'"):
        asymmetry(both)


def test_kernels_of_several_sweeps_are_not_averaged():
    names = ["layer", "width", "epoch", "nets", "widest", "widest_nets", "kernel_variance", "kernel_bias"]
    rows = pd.DataFrame([[1, width, 20, 3, 32, 3, 0.1, 0.1] for width in (4, 8)], columns=names)
    with pytest.raises(ValueError, match="column 'sweep' has several values"):
        variance_over_seeds(pd.concat([rows.assign(sweep="a"), rows.assign(sweep="b")]))
