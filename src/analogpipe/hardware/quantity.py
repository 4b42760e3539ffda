"""A physical quantity: its unit, the range that is plausible, and how people write it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema

from analogpipe.files import excerpt

PREFIXES = {"f": -15, "p": -12, "n": -9, "u": -6, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9}
_WRITTEN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(.*?)\s*")


@dataclass(frozen=True)
class Quantity:
    """A float in a unit of the SI, between ``low`` and ``high``; the unit of a pure number is "1".

    As annotation of a pydantic field it takes a number in that unit (``4e-8``) or a text with one
    (``40 ns``). What is out of range is refused in one line that says the range, and what may have
    been meant when a power of ten is missing.
    """

    unit: str
    low: float
    high: float

    def parse(self, found: object) -> float:
        """Return a number or a text as a float in ``unit``. Raises ValueError."""
        value = self._number(found)
        if not self.low <= value <= self.high:
            meant = [value * 10.0**-k for k in (3, 6, 9, 12, 15, -3, -6, -9)]
            near = [x for x in meant if self.low <= x <= self.high] if self.unit != "1" else []
            hint = f" ({self.text(near[-1])} meant?)" if near else ""
            raise ValueError(
                f"found {self.text(value)}, allowed: {self.text(self.low)} to "
                f"{self.text(self.high)}{hint}"
            )
        return value

    def text(self, value: float) -> str:
        """Return ``value`` with its unit, as people write it: ``40 ns``, ``0.5 pJ``."""
        if self.unit == "1":
            return f"{value:g}"
        if value == 0 or not isfinite(value):
            return f"{value:g} {self.unit}"
        falling = ("G", "M", "k", "", "m", "u", "n", "p")
        prefix = next((p for p in falling if abs(value) >= 10.0 ** PREFIXES[p]), "f")
        return f"{value / 10.0 ** PREFIXES[prefix]:.4g} {prefix}{self.unit}"

    def _number(self, found: object) -> float:
        if isinstance(found, int | float) and not isinstance(found, bool):
            try:
                return float(found)
            except OverflowError:
                return inf
        written = _WRITTEN.fullmatch(found) if isinstance(found, str) else None
        if written is None:
            raise ValueError(f"found {excerpt(found)}, allowed: a number in {self._units()}")
        number, unit = float(written[1]), written[2]
        prefix = unit.removesuffix(self.unit) if unit else ""
        if unit and (not unit.endswith(self.unit) or prefix not in PREFIXES or self.unit == "1"):
            raise ValueError(f"found {excerpt(found)}, allowed: a number in {self._units()}")
        return number * 10.0 ** PREFIXES[prefix]

    def _units(self) -> str:
        if self.unit == "1":
            return f"no unit, {self.low:g} to {self.high:g}"
        return f"{self.unit}, or with a unit such as {self.text(self.low)}"

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        parse: Callable[[Any], Any] = self.parse
        return core_schema.no_info_before_validator_function(parse, handler(source))
