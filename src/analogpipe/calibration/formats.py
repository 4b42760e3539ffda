"""Files of measurements as tools write them, read into one table: a row per reading."""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Format = Literal["pulses", "columns", "turn"]
"""``pulses``: columns pulse, polarity, conductance and, if several, element. ``columns``: a column of
readings under up pulses and one under down pulses, in pairs if there are several elements. ``turn``:
pulse number and value of one element, whose values rise and then fall, or fall and then rise."""
LEAST = 8
"""Pulses of each polarity that a fit needs."""
ROUGH = 0.3
"""Part of the variance of the values beyond which they do not go up and down once."""
UP, DOWN = ("up", "pot", "ltp", "set"), ("down", "dep", "ltd", "reset")
"""How names of columns begin or end, but for a number."""


class MeasurementError(ValueError):
    """A file of measurements that cannot be used."""


def read_table(path: Path, form: Format) -> pd.DataFrame:
    """Return the readings of a file with the columns pulse, polarity, conductance and element.

    ``polarity`` (positive: up, negative: down, 0: no pulse) is that of the pulse before the reading.

    Raises:
        MeasurementError: the file cannot be read, or is not of this form.
    """
    try:
        table = pd.read_csv(path, comment="#")
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise MeasurementError(f"cannot read {path}: {error}") from None
    names = [str(column).strip().lower() for column in table.columns]
    if form != "pulses" and all(_number(name) for name in names):
        # no line of names: the first line is a reading
        table = pd.read_csv(path, comment="#", header=None)
        names = [f"column {i + 1}" for i in range(table.shape[1])]
    table.columns = pd.Index(names)
    match form:
        case "pulses":
            return _pulses(path, table)
        case "columns":
            return _columns(path, table)
        case "turn":
            return _turn(path, table)


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _pulses(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    for column in ("pulse", "polarity", "conductance"):
        if column not in table:
            found = ", ".join(table.columns)
            raise MeasurementError(f"{path} has no column {column!r}, found: {found}")
        table[column] = pd.to_numeric(table[column], errors="coerce")
        if not np.isfinite(table[column]).all():
            raise MeasurementError(
                f"{path}: column {column!r} has entries that are no finite numbers"
            )
    if "element" not in table:
        table["element"] = 0
    return table


def _columns(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """One element a pair of columns; the first reading of the up column is where it starts, and the down
    column goes on where the up column ends."""
    if len(table.columns) % 2:
        table = table.iloc[:, 1:]  # numbers of the pulses
    ups = [name for name in map(str, table) if _means(name, UP) and not _means(name, DOWN)]
    downs = [name for name in map(str, table) if _means(name, DOWN)]
    if not ups and not downs:
        ups, downs = list(table.columns[::2]), list(table.columns[1::2])
    if not ups or len(ups) != len(downs) or len(ups) + len(downs) != len(table.columns):
        found = ", ".join(map(str, table.columns))
        raise MeasurementError(
            f"{path}: columns of up pulses and of down pulses in pairs are needed, found: {found}"
        )
    frames = []
    for element, (up, down) in enumerate(zip(ups, downs, strict=True)):
        rise, fall = _values(path, table, up), _values(path, table, down)
        if abs(fall[0] - rise[-1]) > abs(rise[-1] - rise[0]) / 2:
            raise MeasurementError(
                f"{path}: column {down!r} begins at {fall[0]:.4g}, not where {up!r} ends "
                f"({rise[-1]:.4g}); down pulses follow up pulses"
            )
        polarity = np.concatenate([[0], np.ones(len(rise) - 1), -np.ones(len(fall))])
        frames.append(_frame(np.concatenate([rise, fall]), polarity, element))
    return pd.concat(frames, ignore_index=True)


def _means(name: str, words: tuple[str, ...]) -> bool:
    parts = name.replace("-", " ").replace("_", " ").replace(".", " ").split()
    bare = [part.rstrip("0123456789") for part in parts]
    return any(
        part == word or (len(word) > 2 and part.startswith(word)) for part in bare for word in words
    )


def _values(path: Path, table: pd.DataFrame, name: object) -> NDArray[np.float64]:
    """Readings of a column, which may end before the others."""
    column = table[str(name)]
    last = column.last_valid_index()
    values = pd.to_numeric(column.loc[:last], errors="coerce").to_numpy(dtype=np.float64)
    if last is None or not np.isfinite(values).all():
        raise MeasurementError(f"{path}: column {name!r} has entries that are no finite numbers")
    return values


def _frame(
    values: NDArray[np.float64], polarity: NDArray[np.float64], element: int
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "pulse": np.arange(len(values)),
            "polarity": polarity,
            "conductance": values,
            "element": element,
        }
    )


def _turn(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    if len(table.columns) != 2:
        found = ", ".join(map(str, table.columns))
        raise MeasurementError(f"{path}: two columns are needed, pulse and value, found: {found}")
    number, values = (_values(path, table, name) for name in table.columns)
    if len(number) != len(values) or len(values) < 2 * LEAST + 1:
        raise MeasurementError(
            f"{path}: {2 * LEAST + 1} pulses and values are needed, found {len(values)}"
        )
    restarts = np.flatnonzero(np.diff(number) <= 0)
    if len(restarts) > 1:
        raise MeasurementError(
            f"{path}: pulse numbers start anew {len(restarts)} times; use the format 'pulses'"
        )
    if len(restarts):
        turn = int(restarts[0])
        way = float(np.sign(values[turn] - values[0])) or 1.0
    else:
        turn, way = _found_turn(path, values)
    pulses = np.arange(len(values))
    polarity = np.where(pulses <= turn, way, -way)
    polarity[0] = 0
    return _frame(values, polarity, 0)


def _found_turn(path: Path, values: NDArray[np.float64]) -> tuple[int, float]:
    """The reading after which values turn, and whether they rise before: those that a rising and a falling
    sequence, or the reverse, fit best."""

    def rest(turn: int, way: float) -> float:
        both = (way * values[: turn + 1], -way * values[turn:])
        return sum(float(np.sum((part - isotonic_regression(part).x) ** 2)) for part in both)

    places = range(len(values))
    found: list[tuple[float, int, float]] = []
    for way in (1.0, -1.0):
        coarse = max(len(values) // 100, 1)
        _, best = min((rest(turn, way), turn) for turn in places[::coarse])
        near = places[max(best - 10 * coarse, 0) : best + 10 * coarse + 1]
        found += [(rest(turn, way), turn, way) for turn in near]
    least = min(found)[0]
    # of those that the noise does not tell apart, where both trains are most alike
    even = [one for one in found if one[0] <= least * (1 + 12 / len(values))]
    _, turn, way = min(even, key=lambda one: (abs(2 * one[1] - len(values) + 1), one[0]))
    if least > ROUGH * float(np.sum((values - values.mean()) ** 2)):
        raise MeasurementError(
            f"{path}: the values do not rise and fall once; use the format 'pulses'"
        )
    return turn, way
