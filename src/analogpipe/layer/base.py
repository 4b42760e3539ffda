"""What all layers with analog tiles share."""

from dataclasses import dataclass, field
from math import prod, sqrt
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from analogpipe.seeds import generator
from analogpipe.tile.attributes import parameter, submodule
from analogpipe.tile.change import Change
from analogpipe.tile.config import TileConfig
from analogpipe.tile.mapping import along
from analogpipe.tile.tile import AnalogTile
from analogpipe.tile.weight import Weight

Bias = bool | Literal["analog"]
"""``True``: digital, a Parameter. ``"analog"``: the last column of the array, whose input is 1
(AIHWKit: a tile with ``analog_bias``, from ``mapping.digital_bias = False``). ``False``: none."""


MOST_PENDING = 4096
"""Micro-batches that may wait for an update: more are a loop that forgets to update."""


class LayerError(ValueError):
    """A layer that cannot be made, or a use of one that would train something else."""


@dataclass(slots=True)
class _Pending:
    """Micro-batches that wait for an update."""

    tensors: list[Tensor] = field(default_factory=list)
    """``[x0, e0, x1, e1, ...]``"""
    versions: list[int] = field(default_factory=list)
    """Theirs, when they came."""
    in_evaluation: int = 0
    """Passes since the last update that left nothing, as they ran in evaluation mode."""

    def clear(self) -> None:
        self.tensors, self.versions, self.in_evaluation = [], [], 0


class AnalogLayer(nn.Module):
    """A layer with an analog tile. A backward pass leaves its update pending; :meth:`update`
    applies it.

    The weight is no Parameter: optimisers and gradient buffers never see it. In its place stands
    ``anchor``, a Parameter without elements: freezing it, by ``requires_grad_`` of a module around it
    or otherwise, freezes the array. No update is left pending

    - by a layer that is frozen,
    - where the forward pass ran in evaluation mode or without gradients,
    - by what leaves gradients of parameters alone, too: ``torch.autograd.grad`` for the input.

    As gradients are, pending updates are forgotten by ``zero_grad``: where ``anchor.grad``, a tensor
    without elements, has become None.

    A state dict of the digital layer (``weight``, ``bias``) is loaded like one of this layer.

    Args:
        shape: of the weight, as in the digital layer: outputs first; the rest are columns.
        bias: see :data:`Bias`.
        seed, name: address of the layer's random streams; initial values as by :func:`initial`.
    """

    tile: AnalogTile = submodule("tile")
    bias: Tensor | None = parameter("bias")
    anchor: nn.Parameter = parameter("anchor")

    def __init__(
        self, shape: tuple[int, ...], tile: TileConfig, *, bias: Bias, seed: int, name: str
    ) -> None:
        super().__init__()
        if not tile.mapping.fits(shape[0], prod(shape[1:])):
            raise LayerError(
                f"{name}: {shape[0]} outputs and {prod(shape[1:])} inputs are more than an array has, "
                f"{tile.mapping.max_output_size} and {tile.mapping.max_input_size} (0: any number); "
                "allowed: a layer of analogpipe.layer.mapped"
            )
        weight, values = initial(shape[0], prod(shape[1:]), bias=bias, seed=seed, name=name)
        self.shape = shape
        self.tile = AnalogTile(weight, tile, seed=seed, name=name)
        self.analog_bias = bias == "analog"
        self.register_parameter("bias", nn.Parameter(values) if bias is True else None)
        self.anchor = nn.Parameter(torch.empty(0))
        self._pending = _Pending()
        self.attach()

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the layer; under autocast in float32 all the same, as an array has no other precision."""
        # torch.fx calls it with stand-ins for tensors
        if not isinstance(args[0], Tensor) or not torch.is_autocast_enabled(args[0].device.type):
            return super().__call__(*args, **options)
        with torch.autocast(args[0].device.type, enabled=False):
            return super().__call__(args[0].float(), *args[1:], **options)

    def share(self, other: Self) -> None:
        """Use the array of another layer, with its weight."""
        self.tile = other.tile
        self.attach()

    def attach(self) -> None:
        """Where the array has a residual, that is the anchor; after a change of the tile."""
        if self.tile.array.residual is not None:
            self.anchor = self.tile.array.residual

    @property
    def name(self) -> str:
        """Name that addresses the random streams."""
        return self.tile.address[1]

    def matrix(self) -> Tensor:
        """Return what the array holds of the weight as reads see it, in the shape of the digital
        layer's, without an analog bias: the live memory."""
        weight = self.tile.array.settle()
        return (weight[:, :-1] if self.analog_bias else weight).view(self.shape)

    @property
    def weight(self) -> Tensor:
        """The weight in the shape of the digital layer's, without an analog bias: a view. Its changes
        in place, and what is assigned, set the weight. Of an array at a scale it is a copy that
        cannot be changed in place."""
        if self.tile.scales.whole() is None:
            return Weight.of(self.matrix())
        with torch.inference_mode():
            weight = self.tile.whole()
            return (weight[:, :-1] if self.analog_bias else weight).reshape(self.shape)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "weight":
            self.set_weight(value)
        else:
            super().__setattr__(name, value)

    @torch.no_grad()
    def set_weight(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Bring the elements to ``weight``, of the digital layer's shape, clipped to their bounds.

        ``bias`` (outputs,), if given, becomes that of the layer, digital or analog.

        Raises:
            LayerError: a shape is another, or the layer has no bias.
        """
        if tuple(weight.shape) != self.shape:
            raise LayerError(
                f"{self.name}: the weight has shape {tuple(weight.shape)}, the layer {self.shape}"
            )
        if bias is not None and tuple(bias.shape) != self.shape[:1]:
            raise LayerError(
                f"{self.name}: the bias has shape {tuple(bias.shape)}, the layer {self.shape[:1]}"
            )
        whole = self.tile.whole()
        values = weight.detach().to(whole).flatten(1)
        if self.analog_bias:
            last = whole[:, -1] if bias is None else bias.detach().to(whole)
            values = torch.cat([values, last.unsqueeze(1)], 1)
        elif bias is not None:
            if self.bias is None:
                raise LayerError(f"{self.name}: a bias is given, the layer has none")
            self.bias.copy_(bias)
        self.tile.set_whole(values)

    def update(self, lr: float) -> None:
        """Apply the pending micro-batches in their order and clear them.

        Raises:
            LayerError: a signal was changed in place since its backward pass; or the layer is in
                evaluation mode, in which backward passes leave nothing.
        """
        pending = self._pending
        if self.tile.array.residual is not None:
            self.tile.program()
            return
        if pending.in_evaluation and not self.training and not pending.tensors:
            raise LayerError(
                f"{self.name}: an update in evaluation mode, in which backward passes leave none; "
                "allowed: train(), or requires_grad_(False) for a layer that is not to learn"
            )
        if self.anchor.grad is None:
            pending.clear()
        tensors = pending.tensors
        if [t._version for t in tensors] != pending.versions:
            raise LayerError(
                f"{self.name}: an input or its gradient was changed in place before the update that "
                "needs it; allowed: to update first, or to work on a copy"
            )
        for x, e in zip(tensors[::2], tensors[1::2], strict=True):
            self.apply_update(x, e, lr)
        pending.clear()

    def apply_update(self, x: Tensor, e: Tensor, lr: float) -> None:
        """Update the tile by one micro-batch of layer inputs and error signals."""
        change, array, rates = self.wanted(x, e), self.tile.array, self.tile.scales.rates()
        if rates is None or array.residual is not None:
            array.update(change, lr)
        else:
            array.update(change.over(rates[0]), lr * rates[1])
        if array.residual is not None:
            self.tile.program()

    def wanted(self, x: Tensor, e: Tensor) -> Change:
        """Return the change that a micro-batch of layer inputs and error signals wants."""
        raise NotImplementedError

    def learn(self, x: Tensor, e: Tensor, node: Any) -> Tensor | None:
        """Note a micro-batch for the next update, if the pass of ``node`` is one that trains; return
        the gradient for the anchor, if that is a residual.

        Raises:
            LayerError: too many are waiting, or the pass is to be differentiated again.
        """
        if torch.is_grad_enabled():
            raise LayerError(f"{self.name}: found create_graph, reads have no second derivative")
        # the last input of the node is the anchor: does this pass accumulate gradients for it?
        of_anchor, pending = node.next_functions[-1][0], self._pending
        if of_anchor is None or not torch._C._will_engine_execute_node(of_anchor):
            return None
        if self.tile.array.residual is not None:
            return self.tile.array.gradient(self.wanted(x, e))
        if not node.trains:
            pending.in_evaluation += 1
            return None
        anchor = self.anchor
        if anchor.grad is None:
            pending.clear()
            anchor.grad = anchor.detach()
        if len(pending.tensors) >= 2 * MOST_PENDING:
            raise LayerError(
                f"{self.name}: {MOST_PENDING} micro-batches wait for an update; allowed: to call "
                "update(lr) after each step (analogpipe.layer.steps), or to freeze the layer"
            )
        pending.tensors += x.detach(), e
        pending.versions += x._version, e._version
        return None

    def scaled(self, y: Tensor) -> Tensor:
        """Multiply what was read, (b, out, ...), by the learned scale, and add the digital bias; where
        there is no such scale, the read has added it."""
        learned = self.tile.scales.learned
        if learned is None:
            return y
        y = y * along(learned, y)
        return y if self.bias is None else y + along(self.bias, y)

    def read_bias(self) -> Tensor | None:
        """Return the digital bias, if the read is to add it."""
        return self.bias if self.tile.scales.learned is None else None

    def pending_state(self) -> list[Tensor]:
        """Return the pending micro-batches as ``[x0, e0, x1, e1, ...]``."""
        return list(self._pending.tensors)

    def load_pending(self, pending: list[Tensor]) -> None:
        """Replace the pending micro-batches."""
        if len(pending) % 2:
            raise ValueError(f"{len(pending)} pending tensors given, an even number is needed")
        self._pending = _Pending(list(pending), [t._version for t in pending])
        if self.tile.array.residual is None:
            self.anchor.grad = self.anchor.detach() if pending else None

    def drop_pending(self) -> None:
        """Forget the pending micro-batches, as ``zero_grad`` does gradients."""
        self._pending.clear()
        if self.tile.array.residual is None:
            self.anchor.grad = None

    def __getstate__(self) -> dict[str, Any]:
        if self.anchor.grad is None:
            self.drop_pending()
        return dict(self.__dict__)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self.load_pending(self._pending.tensors)  # copies of tensors have versions of their own

    def weights(self) -> list[Tensor]:
        """Return the weights that a forward pass reads, the live tensors, for one who changes them for
        the time of a pass: from here on a change in place is no request to set the weight."""
        weight = self.tile.array.settle()
        self.tile.array.watched = False
        return [weight]

    def whole(self) -> list[tuple[Tensor, Tensor]] | None:
        """Return the residual and what the array holds beside it, in its units, nothing where it is
        frozen; None for an array that learns by pulses alone."""
        if not self.anchor.requires_grad:
            return []
        if self.tile.array.residual is None:
            return None
        scale, weight = self.tile.scales.alpha, self.tile.array.settle()
        return [(self.anchor, weight if scale is None else weight * scale.unsqueeze(1))]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[f"{prefix}anchor"]  # it holds nothing

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        state_dict[f"{prefix}anchor"] = self.anchor
        if f"{prefix}weight" in state_dict:
            self._load_digital(state_dict, prefix, error_msgs)
        lists = missing_keys, unexpected_keys, error_msgs
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)
        del state_dict[f"{prefix}anchor"]

    def _load_digital(self, state_dict: Any, prefix: str, error_msgs: list[str]) -> None:
        """Take weight and analog bias of a digital layer, and leave the state that they give."""
        weight = state_dict.pop(f"{prefix}weight")
        bias = state_dict.pop(f"{prefix}bias", None) if self.analog_bias else None
        try:
            self.set_weight(weight, bias)
        except LayerError as error:
            error_msgs.append(str(error))
        state_dict.update(self.tile.state_dict(prefix=f"{prefix}tile."))

    def extra_repr(self) -> str:
        """Device and bias."""
        bias = "analog" if self.analog_bias else self.bias is not None
        return f"bias={bias}, device={self.tile.config.device.kind}"


def check_input(layer: AnalogLayer, x: Tensor, axis: int, size: int, dims: tuple[int, ...]) -> None:
    """Refuse an input that the layer cannot take: ``size`` along ``axis``, ``dims`` dimensions
    (none: any).

    Raises:
        LayerError: what was found, and what is allowed.
    """
    if x.dtype != torch.float32:
        raise LayerError(f"{layer.name}: the input is {x.dtype}, allowed: torch.float32")
    fits = x.dim() in dims if dims else x.dim() >= -axis
    if not fits or x.shape[axis] != size:
        raise LayerError(
            f"{layer.name}: the input has shape {tuple(x.shape)}, allowed: {size} along axis {axis}"
            + (f", of {' or '.join(map(str, dims))}" if dims else "")
        )


def initial(rows: int, fan_in: int, *, bias: Bias, seed: int, name: str) -> tuple[Tensor, Tensor]:
    """Draw the array (rows, fan_in) and the digital bias (rows,) as torch's Linear and Conv layers
    draw weight and bias (Kaiming uniform, a = sqrt(5)).

    An analog bias is appended to the array as a column. The bias is empty where it is not digital.

    Raises:
        ValueError: ``bias`` is nothing known.
    """
    if bias not in (True, False, "analog"):
        raise ValueError(f"bias is True, False or 'analog', found {bias!r}")
    stream = generator(seed, name, "weight")
    bound = 1 / sqrt(fan_in)
    weight = torch.empty(rows, fan_in).uniform_(-bound, bound, generator=stream)
    values = torch.empty(rows if bias else 0).uniform_(-bound, bound, generator=stream)
    if bias == "analog":
        return torch.cat([weight, values.unsqueeze(1)], 1), values[:0]
    return weight, values


def with_one(x: Tensor) -> Tensor:
    """Append the input of an analog bias to the rows of ``x``: (b, in) -> (b, in + 1)."""
    return torch.cat([x, x.new_ones((x.shape[0], 1))], 1)
