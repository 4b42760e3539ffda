"""Sizes of schedules, for property tests."""

from hypothesis import strategies as st

from analogpipe.schedule.modes import MODES, SYNC_MODES


@st.composite
def sizes(draw: st.DrawFn) -> tuple[str, int, int, int]:
    mode = draw(st.sampled_from(MODES))
    n = draw(st.integers(1, 40)) if mode in SYNC_MODES else 1
    return mode, draw(st.integers(1, 16)), draw(st.integers(1, 40)), n
