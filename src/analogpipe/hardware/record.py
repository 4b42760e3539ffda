"""The blocks of a network as a file has them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from analogpipe.hardware.layers import Layer, LayerError, Stage


def to_record(blocks: Sequence[Stage]) -> list[dict[str, Any]]:
    """Return blocks as JSON has them: the layers of each, without what is as usual, and what it
    sends."""
    usual = {field.name: field.default for field in fields(Layer)}
    return [
        {
            "layers": [
                {key: value for key, value in asdict(layer).items() if value != usual[key]}
                for layer in block.layers
            ],
            "sent": block.sent,
        }
        for block in blocks
    ]


def from_record(record: Sequence[Mapping[str, Any]]) -> list[Stage]:
    """Return the blocks of a record. Raises LayerError where it holds something else."""
    try:
        return [
            Stage(tuple(Layer(**layer) for layer in block["layers"]), int(block["sent"]))
            for block in record
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise LayerError(f"the record of a network cannot be read: {error}") from None
