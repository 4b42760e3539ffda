"""Torch models on arrays: what is converted, what stays shared, what is refused."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from analogpipe.layer.convert import ConversionError, analog_layer, to_analog
from analogpipe.layer.convolution import AnalogConv2d
from analogpipe.layer.linear import AnalogLinear
from analogpipe.layer.steps import update_arrays
from analogpipe.pipeline.pipeline import Pipeline
from analogpipe.schedule.table import build
from analogpipe.tile.config import TileConfig, digital
from analogpipe.tile.tile import AnalogTile

SOFT = TileConfig.parse({"device": {"kind": "soft_bounds", "w_max": 0.2, "w_min": -0.2}})
EXACT = digital()


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Net(nn.Module):
    """A network with nested layers, one of them in two places."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), nn.ReLU())
        self.mixed = nn.Linear(4 * 36, 4 * 36, bias=False)
        self.again = self.mixed
        self.head = nn.Linear(4 * 36, 5)
        self.in_a_list = [self.mixed]  # torch does not see this reference

    def forward(self, x):
        x = self.features(x).flatten(1)
        return self.head(self.in_a_list[0](self.again(x).tanh()))


def test_exact_arrays_compute_what_the_model_computes():
    net, x = Net(), torch.randn(3, 1, 6, 6)
    analog = to_analog(net, EXACT)
    assert torch.allclose(analog(x), net(x), atol=1e-5)
    assert isinstance(analog, Net)
    assert isinstance(analog.features[0], AnalogConv2d)
    assert not any(isinstance(part, AnalogLinear) for part in net.modules())
    assert not any(type(part) in (nn.Linear, nn.Conv2d) for part in analog.modules())


def test_training_in_a_pipeline_is_that_of_the_digital_model():
    """Exact arrays, so that every gradient and every update must be that of plain SGD."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, (3, 2), stride=2, padding=1, groups=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(64, 5),
    )
    x, y = torch.randn(6, 4, 2, 8, 6), torch.randint(5, (6, 4))
    outputs = []
    for model in (
        copy.deepcopy(net),
        to_analog(net, EXACT),
        to_analog(net, EXACT, analog_bias=True),
    ):
        stages = [model[:2], model[2:]]
        pipeline = Pipeline(
            stages, build("async", stages=2, micro_batches=6), loss=nn.functional.cross_entropy,
            batch=lambda b: (x[b], y[b]), lr=lambda b: 0.1,
        )  # fmt: skip
        pipeline.run()
        outputs.append(pipeline.predict(x[0]))
    assert torch.allclose(outputs[1], outputs[0], atol=1e-5)
    assert torch.allclose(outputs[2], outputs[0], atol=1e-5)
    assert not torch.allclose(outputs[0], net(x[0]), atol=1e-2)


def test_weights_are_kept_within_the_bounds_of_the_elements():
    layer = nn.Linear(20, 10)
    nn.init.uniform_(layer.weight, -1, 1)
    analog = to_analog(layer, SOFT)
    low, high = analog.tile.array.response.low, analog.tile.array.response.high
    assert torch.equal(analog.tile.weight, layer.weight.detach().clamp(low, high))
    assert torch.equal(analog.bias, layer.bias)
    inside = layer.weight.abs() < 0.02
    assert torch.equal(analog.tile.weight[inside], layer.weight[inside])


def test_two_conversions_with_one_seed_are_equal_and_take_no_global_numbers():
    net, x = Net(), torch.randn(3, 1, 6, 6)
    state = torch.get_rng_state()
    one, two, other, apart = (
        to_analog(net, SOFT, seed, name=name)
        for seed, name in ((3, ""), (3, ""), (4, ""), (3, "b"))
    )
    assert torch.equal(torch.get_rng_state(), state)
    first = one(x)
    assert torch.equal(first, two(x))
    assert not torch.equal(first, other(x))
    assert not torch.equal(first, apart(x))


def test_streams_follow_the_path_whatever_holds_the_blocks():
    blocks = [nn.Linear(6, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 3))]
    of_list, of_sequence = to_analog(blocks, SOFT), to_analog(nn.Sequential(*blocks), SOFT)
    assert isinstance(of_list, list)
    x = torch.randn(2, 6)
    assert torch.equal(of_list[1](of_list[0](x)), of_sequence(x))
    assert of_list[1][1].tile.address == (0, "1.1")


def test_a_shared_module_stays_one_wherever_it_is_referred_to():
    analog = to_analog(Net(), SOFT)
    assert analog.mixed is analog.again is analog.in_a_list[0]
    assert sum(isinstance(part, AnalogTile) for part in analog.modules()) == 3


def test_layers_that_share_their_weight_share_their_array():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight
    two.bias = one.bias
    analog = to_analog([one, two], SOFT)
    assert analog[0] is not analog[1]
    assert analog[0].tile is analog[1].tile
    assert analog[0].bias is analog[1].bias
    with pytest.raises(ConversionError, match="what it shares allows no analog bias"):
        to_analog([one, two], SOFT, analog_bias=True)


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (["head"], {"head"}),
        (["features*", "*ead"], {"features.0", "head"}),
        ([nn.Conv2d], {"features.0"}),
        ("again", {"mixed"}),
        ([nn.Sequential], {"features.0"}),
    ],
)
def test_what_stays_digital_by_choice(choice, kept):
    net = Net()
    analog = to_analog(net, SOFT, digital=choice)
    left = {path for path, part in analog.named_modules() if type(part) in (nn.Linear, nn.Conv2d)}
    assert left == kept


def test_a_choice_that_matches_nothing_is_an_error():
    with pytest.raises(ConversionError, match=r"'haed' matches no module; there are: .*head"):
        to_analog(Net(), SOFT, digital=["haed"])


class Own(nn.Linear):
    """A subclass, which may compute anything."""


class Reads(nn.Module):
    """Multiplies by the weight of its layer without calling it, as attention of torchvision does."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4))

    def forward(self, x):
        return nn.functional.linear(x, self.inner[0].weight, self.inner[0].bias)


class ReadsByName(Reads):
    """The same, by an attribute."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 4)

    def forward(self, x):
        return nn.functional.linear(x, self.fc.weight)


def _hooked():
    layer = nn.Linear(4, 4)
    layer.register_forward_hook(lambda *_: None)
    return layer


def _tensor_hook():
    layer = nn.Linear(4, 4)
    layer.weight.register_hook(lambda g: g)
    return layer


def _pruned():
    return prune.random_unstructured(nn.Linear(4, 4), "weight", 0.5)


def _embedding_and_head():
    blocks = nn.Sequential(nn.Embedding(4, 4), nn.Linear(4, 4))
    blocks[1].weight = blocks[0].weight
    return blocks


def _transposed():
    blocks = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 4))
    blocks[1].weight = nn.Parameter(blocks[0].weight.detach().t())
    return blocks


def _monkeypatched():
    layer = nn.Linear(4, 4)
    layer.forward = partial(nn.functional.relu)
    return layer


REFUSED = {
    "subclass of Linear": lambda: Own(4, 4),
    "weight_norm": lambda: parametrizations.weight_norm(nn.Linear(4, 4)),
    "spectral_norm": lambda: parametrizations.spectral_norm(nn.Conv2d(4, 4, 1)),
    "pruning": _pruned,
    "run the model once": lambda: nn.LazyLinear(4),
    "hooks": _hooked,
    "has hooks": _tensor_hook,
    "forward was replaced": _monkeypatched,
    "torch.float64": lambda: nn.Linear(4, 4, dtype=torch.float64),
    "no memory": lambda: nn.Linear(4, 4, device="meta"),
    "MultiheadAttention multiplies": lambda: nn.MultiheadAttention(4, 2),
    "GRU multiplies": lambda: nn.GRU(4, 4),
    "no analog ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 4, 1),
    "reads its weight directly": ReadsByName,
    "shared with encoder.0.weight": _embedding_and_head,
    "its weight is shared with encoder.1.weight": _transposed,
}


@pytest.mark.parametrize("reason", REFUSED)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_what_cannot_be_converted_is_named_or_stays_digital(reason):
    net = nn.Module()
    net.encoder, net.head = REFUSED[reason](), nn.Linear(4, 2)
    with pytest.raises(ConversionError, match=f"encoder.* \\(.*{reason}") as caught:
        to_analog(net, SOFT)
    assert "\n" not in str(caught.value)
    assert "head (" not in str(caught.value)
    if reason in ("no memory", "pruning"):
        return  # neither can be copied, by torch
    analog = to_analog(net, SOFT, strict=False)
    assert [name for name, part in analog.named_modules() if isinstance(part, AnalogLinear)] == (
        ["encoder.inner.0", "head"] if reason == "reads its weight directly" else ["head"]
    )


def test_one_error_names_all():
    net = nn.Sequential(Own(4, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 1))
    with pytest.raises(ConversionError, match=r"0 \(.*; 2 \(there is no analog Conv1d\)"):
        to_analog(net, SOFT)


def test_attention_of_torch_stays_digital_as_a_whole():
    """Its fast path, and the forward of its attention, read weights past their layers."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), nn.Linear(8, 3)
    )
    with pytest.raises(ConversionError) as caught:
        to_analog(net, EXACT)
    for name in ("0.self_attn", "0.linear1", "0.linear2"):
        assert f"{name} (" in str(caught.value)
    assert "out_proj" not in str(caught.value)
    analog, x = to_analog(net, EXACT, strict=False).eval(), torch.randn(2, 5, 8)
    assert isinstance(analog[1], AnalogLinear)
    assert not any(isinstance(part, AnalogLinear) for part in analog[0].modules())
    with torch.no_grad():
        assert torch.allclose(analog(x), net.eval()(x), atol=1e-5)


def test_attention_of_torchvision_is_found_by_its_code():
    from torchvision.models.swin_transformer import ShiftedWindowAttention

    with pytest.raises(ConversionError, match=r"qkv \(.*reads its weight.*proj \("):
        to_analog(ShiftedWindowAttention(8, [2, 2], [0, 0], 2), SOFT)


def test_groups_are_refused_where_the_update_goes_patch_by_patch():
    grouped = nn.Conv2d(4, 4, 3, groups=2)
    trains = TileConfig.parse({"update": {"rule": "pulse_train"}})
    with pytest.raises(ConversionError, match="2 groups"):
        to_analog(grouped, trains)
    assert isinstance(to_analog(grouped, SOFT), AnalogConv2d)


def test_a_function_that_holds_a_layer_is_refused():
    net = nn.Sequential(nn.Linear(4, 4))
    net.call = lambda x: net[0](x)
    with pytest.raises(ConversionError, match="call is a function with a module in it"):
        to_analog(net, SOFT)


def test_parameters_that_are_views_of_one_vector_are_not_taken_for_shared():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(net.parameters()), net.parameters())
    assert net[0].weight.untyped_storage().data_ptr() == net[1].weight.untyped_storage().data_ptr()
    assert torch.equal(to_analog(net, EXACT)[1].tile.weight, net[1].weight)


def test_a_tie_to_what_stays_digital_is_refused():
    one, two = nn.Linear(4, 4), nn.Linear(4, 4)
    two.weight = one.weight
    with pytest.raises(ConversionError, match=r"0 \(its weight is shared with 1.weight"):
        to_analog([one, two], SOFT, digital="1")


def test_training_mode_frozen_bias_and_device_go_along():
    layer = nn.Linear(4, 4).eval()
    layer.bias.requires_grad_(False)
    analog = to_analog(layer, SOFT)
    assert not analog.training
    assert not analog.tile.training
    assert not analog.bias.requires_grad
    with pytest.raises(ConversionError, match="frozen"):
        to_analog(layer, SOFT, analog_bias=True)


@pytest.mark.parametrize(
    "options",
    [
        {"padding": 1, "padding_mode": "reflect"},
        {"dilation": (2, 1), "padding": "valid"},
        {"padding": "same"},  # of an even kernel: one more pixel on one side
    ],
    ids=str,
)
def test_convolutions_of_every_geometry_are_converted(options):
    layer = nn.Conv2d(2, 3, (2, 3), **options)
    x = torch.randn(2, 2, 7, 6)
    assert torch.allclose(to_analog(layer, EXACT)(x), layer(x), rtol=1e-4, atol=1e-6)


def test_frozen_weights_are_frozen_arrays():
    layer = nn.Linear(4, 4)
    layer.weight.requires_grad_(False)
    analog = to_analog(layer, SOFT)
    before = analog.weight.clone()
    analog(torch.randn(3, 4)).sum().backward()
    update_arrays(analog, 0.1)
    assert torch.equal(analog.weight, before)


def test_nothing_to_convert_is_an_error():
    with pytest.raises(ConversionError, match=r"found no nn.Linear or nn.Conv2d"):
        to_analog(nn.ReLU(), SOFT)
    with pytest.raises(ConversionError, match=r"block 1: found builtin.*, allowed: a torch module"):
        to_analog([nn.Linear(2, 2), torch.relu], SOFT)


def test_a_single_layer_is_the_same_as_built_by_its_class():
    built = AnalogLinear(5, 3, SOFT, seed=2, name="fc")
    layer = nn.Linear(5, 3)
    from analogpipe.layer.base import initial

    weight, bias = initial(3, 5, bias=True, seed=2, name="fc")
    layer.load_state_dict({"weight": weight, "bias": bias})
    converted, x = analog_layer(layer, SOFT, seed=2, name="fc"), torch.randn(4, 5)
    for one, two in zip(built.state_dict().values(), converted.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    assert torch.equal(built(x), converted(x))


def test_parametrised_is_told_from_subclass():
    layer = nn.Linear(4, 4)
    parametrize.register_parametrization(layer, "bias", nn.Identity())
    with pytest.raises(ConversionError, match="computed from others"):
        to_analog(layer, SOFT)
