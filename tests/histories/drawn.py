"""Random histories, drawn by hypothesis as plain data.

Not a `RuleBasedStateMachine`: the driver's loop calls the pool, not the pool the driver, and a kill comes in
the midst of a commit, where no rule could be chosen. A history drawn beforehand is a value: what fails is
made smaller by hypothesis, printed, and pasted into a test as it is.
"""

from __future__ import annotations

from hypothesis import strategies as st

from tests.histories.asked import GROWTHS
from tests.histories.playing import History, Session
from tests.histories.simulated_pool import ACTS

MOST_ACTS, MOST_SESSIONS, MOST_STEPS = 12, 3, 120
COMMON = ("done", "all done", "done", "all done", "fail", "read")
"""Acts that come more often than the others."""

acts = st.lists(st.tuples(st.sampled_from((*COMMON, *ACTS)), st.integers(0, 11)), max_size=MOST_ACTS)
faults = st.sampled_from(("", "kill", "kill", "kill", "full", "io"))


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """A session; half of them add something to the config, one of eight compacts."""
    fault = draw(faults)
    step = draw(st.integers(1, MOST_STEPS)) if fault else 0
    grows = draw(st.sampled_from((*[""] * len(GROWTHS), *GROWTHS)))
    if draw(st.integers(0, 7)) == 7:
        return Session(grows, fault=fault, step=step, compacts=True)
    return Session(grows, tuple(draw(acts)), fault, step)


nets = st.tuples(st.sampled_from((2, 3)), st.integers(0, 2), st.sampled_from((1, 2, 3)))
histories = st.builds(
    History,
    st.lists(sessions(), min_size=1, max_size=MOST_SESSIONS).map(tuple),
    st.one_of(st.just(frozenset()), st.frozensets(nets, max_size=2)),
)
"""Up to three sessions, before two that nothing disturbs."""
