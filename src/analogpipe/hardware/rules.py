"""How the arrays of a layer learn: the update rules that the cost model knows."""

from dataclasses import dataclass
from typing import Literal, get_args

RuleKind = Literal["analog_sgd", "ttv1", "ttv2", "cttv2", "agad", "mixed_precision"]
RULES: tuple[RuleKind, ...] = get_args(RuleKind)

# Digital operations for each value of a transferred vector (R, Table 1; of ttv1 assumed as ttv2).
_TRANSFER_OPERATIONS = {"ttv1": 2, "ttv2": 2, "cttv2": 2, "agad": 6}
# Digital matrices of the size of the weight (R, Table 1, row "Storage").
_BUFFERS = {"analog_sgd": 0, "ttv1": 0, "ttv2": 1, "cttv2": 1, "agad": 3, "mixed_precision": 1}


class RuleError(ValueError):
    """An update rule that does not exist or cannot be timed."""


@dataclass(frozen=True)
class Rule:
    """An update rule and how often it transfers.

    Tiki-Taka rules transfer ``columns`` columns of the fast array for every ``every`` input vectors
    (n_s of R, who has 2), or with ``units_in_mbatch`` for every ``every`` micro-batches (names of
    AIHWKit).
    """

    kind: RuleKind
    every: float = 2
    columns: int = 1
    units_in_mbatch: bool = False

    def __post_init__(self) -> None:
        """Refuse what has no meaning."""
        if self.kind not in RULES:
            raise RuleError(f"rule is {self.kind!r}, allowed are {', '.join(RULES)}")
        if not (0 < self.every < float("inf") and self.columns >= 1):
            raise RuleError(
                f"every is {self.every} and columns {self.columns}, allowed: above 0, 1 or more"
            )

    @property
    def tiki_taka(self) -> bool:
        """Whether a fast array collects gradients and passes them on."""
        return self.kind in _TRANSFER_OPERATIONS

    @property
    def pulsed(self) -> bool:
        """Whether each input vector pulses an array, so that a flush needs the stored vectors."""
        return self.kind != "mixed_precision"

    @property
    def transfer_operations(self) -> int:
        """Digital operations for each value of a transferred vector."""
        return _TRANSFER_OPERATIONS[self.kind]

    @property
    def buffers(self) -> int:
        """Digital matrices of the size of the weight that the rule keeps."""
        return _BUFFERS[self.kind]

    @property
    def arrays(self) -> int:
        """Arrays for each weight matrix. A reference array is not counted."""
        return 2 if self.tiki_taka else 1

    def transfers(self, vectors: float) -> float:
        """Columns transferred for a micro-batch of ``vectors`` input vectors."""
        return self.columns * (1 if self.units_in_mbatch else vectors) / self.every
