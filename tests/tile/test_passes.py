"""Passes read each column at the vector at which a loop over the vectors would."""

from hypothesis import given
from hypothesis import strategies as st

from analogpipe.tile.passes import passes

SMALL = st.integers(1, 7)


@given(st.integers(0, 40), SMALL, SMALL, st.integers(1, 9), st.data())
def test_passes_are_the_loop_over_vectors(
    vectors: int, every: int, columns: int, width: int, data: st.DataObject
) -> None:
    column, waited = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, every - 1))
    expected, at, count = [], column, waited
    for vector in range(1, vectors + 1):
        count += 1
        if count == every:
            for _ in range(columns):
                expected.append((vector, at))
                at = (at + 1) % width
            count = 0
    found, came = [], 0
    settings = {"column": column, "waited": waited, "every": every, "columns": columns}
    for part in passes(vectors, width=width, **settings):
        assert part.vectors.start == came
        came = part.vectors.stop
        read = range(part.columns.start, part.columns.stop)
        found += [
            (part.vectors.start + time, at) for time, at in zip(part.times, read, strict=True)
        ]
        assert part.complete == (part.columns.stop == width and len(read) > 0)
        assert not part.complete or part.times[-1] == came - part.vectors.start
    assert came == vectors
    assert found == expected
