"""The null `untrained`: the source before training, which says what random features give."""

from collections.abc import Iterator

from espalier.tasks.grafting.nulls.null import Ladder, Null
from espalier.tasks.spec import Snapshot


def _initial(ladder: Ladder, position: int, same: bool) -> Iterator[Snapshot]:
    """Another net's initial snapshot, if there is one; at epoch 0 the real graft is the untrained one."""
    if not same and ladder[position].epoch > 0 and ladder[0].epoch == 0:
        yield ladder[0]


UNTRAINED = Null("untrained", _initial, by_default=True)
