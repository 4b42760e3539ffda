"""A model with a forward of its own as a sequence of blocks, by torch.fx.

The forward is followed once, without data: what it calls in which order becomes a graph, which can be
cut wherever a single tensor passes. Modules that it calls stay as they are, with their own code; they
are opened in turn only if there are too few places to cut otherwise. What a graph would not repeat is
refused.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from analogpipe.pipeline.errors import StageError
from analogpipe.pipeline.inspection import kept
from analogpipe.pipeline.layer import ArrayGroup, is_array_layer
from analogpipe.pipeline.randomness import undisturbed

Blocks = list[tuple[str, nn.Module]]


class FollowError(ValueError):
    """A forward that cannot be followed."""


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a Sequential that does nothing but call its modules in order."""
    plain = type(module).forward is nn.Sequential.forward
    return plain and "forward" not in vars(module) and not _hooked(module) and bool(module._modules)


def follow(model: nn.Module, depth: int, example: Tensor) -> tuple[Blocks, bool]:
    """Return the blocks of a model with the paths of what they call, and whether a greater ``depth``
    would open more.

    Args:
        depth: modules in each other that are opened, 1 for the model alone; Sequentials do not count.
        example: an input; the model runs on it in evaluation mode.

    Raises:
        FollowError: the forward depends on data, on the mode, on random numbers or on its own past,
            or takes other than one tensor.
    """
    with _modes_kept(model):
        traced = [_traced(model.train(mode), depth) for mode in (True, False)]
        (graph, tracer), (other, _) = traced
        if graph.code != other.code:
            raise FollowError("does something else in evaluation mode than in training")
        found = _kinds(graph, example)
    blocks = [_block(graph, value, part) for value, part in _parts(graph.graph, found)]
    if not any(is_array_layer(part) for part in model.modules()):
        _compare(model, blocks, example)
    return blocks, tracer.left_closed


class _Tracer(fx.Tracer):
    """Opens Sequentials, and other modules down to a depth."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.left_closed = False
        self._depth = depth
        self._open: list[nn.Module] = []

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is called as it is."""
        if is_plain(m) or m in self._open:
            return False
        of_torch = type(m).__module__.startswith(("torch.nn", "torch.ao"))
        array = is_array_layer(m) or isinstance(m, ArrayGroup)
        if of_torch or array or _hooked(m) or not m._modules:
            return True
        too_deep = len(self._open) >= self._depth
        self.left_closed |= too_deep
        return too_deep

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Note which modules are open."""
        if is_plain(m) or self.is_leaf_module(m, ""):
            return super().call_module(m, forward, args, kwargs)
        self._open.append(m)
        try:
            return super().call_module(m, forward, args, kwargs)
        finally:
            self._open.pop()


class _Of(nn.Module):
    """A model as of one input: options of its forward keep their defaults."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Any:
        """Run the model."""
        return self.model(x)


def _traced(model: nn.Module, depth: int) -> tuple[fx.GraphModule, _Tracer]:
    """Follow the forward of a model in its present mode."""
    if _hooked(model):
        raise FollowError("has hooks, which would be lost")
    tracer = _Tracer(depth)
    before = kept(model.named_modules())
    try:
        with undisturbed(torch.device("cpu"), others=True):
            graph = tracer.trace(whole := _Of(model))
    except StageError:
        raise FollowError("draws random numbers that do not depend on its input") from None
    except Exception as error:  # the code of others runs on stand-ins for tensors
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise FollowError(f"cannot be followed without data ({reason})") from None
    after = kept(model.named_modules())
    changed = [place for place in after if before.get(place, ...) != after[place]]
    if changed:
        raise FollowError(f"changes {'.'.join(filter(None, changed[0]))}")
    (output,) = [node for node in graph.nodes if node.op == "output"]
    if not isinstance(output.args[0], fx.Node):
        raise FollowError("gives other than one tensor")
    made = [n.target for n in graph.nodes if n.op == "get_attr" and "_tensor_constant" in n.target]
    if made:
        raise FollowError("makes a tensor without its input, which would stay as it is")
    return fx.GraphModule(whole, graph), tracer


class _Kinds(fx.Interpreter):
    """Notes which steps give a tensor through which gradients pass."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.passes: dict[fx.Node, bool] = {}

    def run_node(self, n: fx.Node) -> Any:
        """Run a step."""
        value = super().run_node(n)
        self.passes[n] = isinstance(value, Tensor) and value.is_floating_point()
        return value


def _kinds(graph: fx.GraphModule, example: Tensor) -> dict[fx.Node, bool]:
    interpreter = _Kinds(graph)
    with torch.no_grad():
        try:
            interpreter.run(example)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise FollowError(f"does not run on {tuple(example.shape)}: {reason}") from None
    return interpreter.passes


def _parts(graph: fx.Graph, passes: dict[fx.Node, bool]) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """The steps between two places where one tensor alone passes, with what comes in there."""
    (value,) = [node for node in graph.nodes if node.op == "placeholder"]
    steps = [node for node in graph.nodes if node.op not in ("placeholder", "output")]
    order = {node: i for i, node in enumerate(graph.nodes)}
    last = {node: max((order[user] for user in node.users), default=0) for node in graph.nodes}
    part: list[fx.Node] = []
    for step in steps:
        part.append(step)
        alive = [n for n in graph.nodes if order[n] <= order[step] < last[n]]
        if alive == [step] and (passes[step] or step is steps[-1]):
            yield value, part
            value, part = step, []


def _block(whole: nn.Module, value: fx.Node, part: list[fx.Node]) -> tuple[str, nn.Module]:
    """A part as a module: the one that it does nothing but call, or the steps with what they use."""
    called = [str(step.target) for step in part if step.op == "call_module"]
    path = "+".join(name.removeprefix("model.") for name in called or [step.name for step in part])
    if len(part) == len(called) == 1 and part[0].args == (value,) and not part[0].kwargs:
        return path, whole.get_submodule(called[0])
    graph = fx.Graph()
    copied = {value: graph.placeholder("x")}
    for step in part:
        copied[step] = graph.node_copy(step, lambda node: copied[node])
    graph.output(copied[part[-1]])
    return path, fx.GraphModule(whole, graph, "+".join(step.name for step in part))


def _compare(model: nn.Module, blocks: Blocks, example: Tensor) -> None:
    """Raise FollowError where the blocks in a row do something else than the model."""
    with _modes_kept(model), torch.no_grad():
        model.eval()
        expected, y = model(example), example
        for _, block in blocks:
            y = block.eval()(y)
    if not torch.equal(expected, y):
        raise FollowError("gives something else than the modules that it calls in a row")


@contextmanager
def _modes_kept(model: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in model.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks or module._backward_hooks)
