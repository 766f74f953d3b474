"""Gradients of the last weight layer: their products equal those of torch.func's Jacobian of each sample."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from tests.models.tiny_models import load_source, make_images, write_code
from tests.shared_material import SHARED
from zoo_cli.errors import UsageError
from zoo_cli.models import gradients
from zoo_cli.models.capture import FeatureExtractor, find_tap
from zoo_cli.models.gradients import Gradients
from zoo_cli.models.projection import BLOCKS, Projection


def make_gradients(
    module: nn.Module, size: int = 16, *, layer: str = "", projection: Projection | None = None
) -> Gradients:
    """The gradients of a module in float64 and eval mode, with batch norms as if trained."""
    module = module.double().eval()
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for number, values in enumerate((norm.running_mean, norm.running_var, norm.weight.data, norm.bias.data)):
                values.copy_(0.5 + torch.rand(values.shape, generator=torch.Generator().manual_seed(number)))
    example = make_images(size).double()
    return Gradients(module, find_tap(module, example, None), example, layer, projection)


def reference_kernel(computed: Gradients, x: Tensor) -> tuple[Tensor, Tensor]:
    """Theta over all outputs, and of their sum, (B, B): from the Jacobian of the whole network, sample by sample."""
    name = f"module.{computed.layer.name}.weight"
    network = FeatureExtractor(computed.network.module, computed.network.tap)
    weight = computed.hook.layer.weight.detach()

    def outputs(weight: Tensor, image: Tensor) -> Tensor:
        logits: Tensor = functional_call(network, {name: weight}, (image[None],))[1]
        return logits[0]

    each = torch.stack([jacrev(outputs)(weight, image).flatten(1) for image in x])
    total = each.sum(1)
    return torch.einsum("ikp,jkp->ij", each, each), total @ total.T


def assert_same_kernel(computed: Gradients, size: int = 16, count: int = 4) -> None:
    x = make_images(size, count, seed=9).double()
    for vectors, expected in zip(computed(x), reference_kernel(computed, x), strict=True):
        assert expected.abs().max() > 0
        assert (vectors @ vectors.T - expected).abs().max() <= 1e-10 * expected.abs().max()


def tail(*layers: nn.Module, width: int = 6) -> nn.Sequential:
    """A convolution, these layers, the mean over space and a linear head of nine outputs."""
    return nn.Sequential(nn.Conv2d(3, width, 3, 2), *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 9))


class Residual(nn.Module):
    """Two convolutions with a shortcut, and in-place operations on both."""

    def __init__(self, *, after: bool = True):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm, self.fc = nn.BatchNorm2d(6), nn.Linear(6, 5)
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu_()
        y = self.norm(self.second(x))
        y += x
        return self.fc((y.relu_() if self.after else y).mean((2, 3)))


class Shared(nn.Module):
    """One convolution that is called twice, as in a recurrent network."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.fc = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.again(self.first(x).tanh()).tanh()
        return self.fc(self.again(x).relu().mean((2, 3)))


class Standardised(nn.Conv2d):
    """A convolution that standardises its trained weight before it multiplies."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return nn.functional.conv2d(x, weight, self.bias, self.stride)


class Concatenated(nn.Module):
    """The end of a dense block: some features are channels of the last layer, the others come from earlier layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last, self.norm = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 3, 3, padding=1), nn.BatchNorm2d(7)
        self.fc = nn.Linear(7, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.fc(self.norm(torch.cat([x, self.last(x.relu())], 1)).relu().mean((2, 3)))


def odd() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, (3, 2), (1, 2), padding="valid"),
        nn.Conv2d(6, 6, 3, padding="same", dilation=2, padding_mode="reflect", groups=3),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 5),
    )


CLOSED: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: tail(nn.ReLU(inplace=True)),
    "batch norm, relu": lambda: tail(nn.BatchNorm2d(6), nn.ReLU(inplace=True)),
    "no activation": lambda: tail(),
    "smooth activation": lambda: tail(nn.SiLU(inplace=True)),
    "maximum over space": lambda: tail(nn.MaxPool2d(2)),
    "shortcut, then relu": Residual,
    "shortcut, no relu": lambda: Residual(after=False),
    "concatenated": Concatenated,
    "groups, odd padding": odd,
    "linear, linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(768, 7), nn.ReLU(), nn.Linear(7, 30)),
    "convolution as head": lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
}
OPEN: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "relu after the head": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ),
        5,
    ),
    "called twice": (Shared, 5),
    "channels mixed by a norm": (lambda: tail(nn.GroupNorm(2, 6), nn.ReLU()), 6),
    "each position a feature": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(98, 4)),
        4,
    ),
    "two features a channel": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d((2, 1)), nn.ReLU(), nn.Flatten(), nn.Linear(4, 3)
        ),
        3,
    ),
    "standardised weight": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), Standardised(4, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)
        ),
        4,
    ),
}


@pytest.mark.parametrize("name", CLOSED)
def test_separate_channels_need_one_backward_pass(name: str) -> None:
    torch.manual_seed(0)
    computed = make_gradients(CLOSED[name]())
    assert (computed.layer.closed, computed.layer.outputs) == (True, 1)
    assert_same_kernel(computed)


@pytest.mark.parametrize("name", OPEN)
def test_other_tails_need_a_pass_per_output_or_feature(name: str) -> None:
    torch.manual_seed(0)
    network, outputs = OPEN[name]
    computed = make_gradients(network())
    assert (computed.layer.closed, computed.layer.outputs) == (False, outputs)
    assert_same_kernel(computed)


FAMILIES = [
    ("resnet18", 32, "layer4.1.conv2", True),
    ("mobilenet_v2", 32, "features.18.0", True),
    ("mobilenet_v3_small", 32, "classifier.0", True),
    ("densenet121", 32, "features.denseblock4.denselayer16.conv2", True),
    ("squeezenet1_1", 64, "features.12.expand3x3", False),
]


@pytest.mark.parametrize(("name", "size", "layer", "closed"), FAMILIES, ids=[row[0] for row in FAMILIES])
def test_torchvision_tails(name: str, size: int, layer: str, closed: bool) -> None:
    torch.manual_seed(0)
    computed = make_gradients(torchvision.models.get_model(name, num_classes=3), size)
    assert (computed.layer.name, computed.layer.closed) == (layer, closed)
    assert_same_kernel(computed, size, 2)


def test_a_transformer_uses_its_last_blocks_linear() -> None:
    torch.manual_seed(0)
    network = torchvision.models.VisionTransformer(16, 8, 2, 2, 16, 32, num_classes=40)
    nn.init.normal_(network.heads.head.weight)  # zero, as it starts, no gradient would reach the layer
    computed = make_gradients(network)
    assert computed.layer.name == "encoder.layers.encoder_layer_1.mlp.3"
    # Sixteen features determine forty outputs.
    assert (computed.layer.closed, computed.layer.outputs, computed.layer.positions) == (False, 16, 5)
    assert_same_kernel(computed)


def test_timm_layers_are_found() -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    resnet = make_gradients(timm.create_model("resnet10t.c3_in1k", num_classes=3), 32)
    assert resnet.layer.closed
    assert_same_kernel(resnet, 32, 2)
    computed = make_gradients(timm.create_model("test_vit", num_classes=12, img_size=32), 32)
    assert computed.layer.name.endswith("mlp.fc2")
    assert not computed.layer.closed
    assert_same_kernel(computed, 32, 2)


@pytest.mark.parametrize("row", ["lgc_trace_ntk", "lgc_sum_logits"])
@pytest.mark.skipif(SHARED is None, reason="needs the development material")
def test_toy_network_scores_match_the_reference(row: str) -> None:
    assert SHARED is not None
    for case in json.loads((SHARED / "golden" / "metrics.json").read_text())["cases"]:
        generator = np.random.default_rng(case["recipe"]["seed"] + 7000)
        x, first, head = (
            torch.from_numpy(np.round(generator.standard_normal(shape) * 256) / 256)
            for shape in ((12, 3, 6, 6), (4, 3, 3, 3), (5, 4))
        )
        network = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 5, bias=False),
        ).double()
        network[0].weight.data, network[4].weight.data = first, head
        computed = make_gradients(network, 6)
        assert computed.layer.closed
        vectors = computed(x)[row == "lgc_sum_logits"]
        labels = np.arange(12) % 3
        same = np.where(labels[:, None] == labels, 1.0, -1.0)
        (expected,) = [value["value"] for value in case["values"] if value["metric"] == row]
        score = np.corrcoef((vectors @ vectors.T).numpy().ravel(), same.ravel())[0, 1]
        assert score == pytest.approx(expected, abs=1e-9)


def test_a_layer_can_be_named() -> None:
    torch.manual_seed(0)
    computed = make_gradients(Residual(), layer="first")
    assert computed.layer.name == "first"
    assert not computed.layer.closed
    assert_same_kernel(computed)
    assert make_gradients(Residual(), layer="fc").layer.outputs == 5
    with pytest.raises(UsageError, match='gradient_layer = "norm": no Conv2d or Linear of that name'):
        make_gradients(Residual(), layer="norm")


def test_the_layer_follows_feature_layer(tmp_path: Path) -> None:
    model = load_source(f"python:{write_code(tmp_path)}:tiny", tmp_path, feature_layer="body.0", classes=5)
    layer = gradients.build_gradients(model, None).layer
    assert (layer.name, layer.outputs) == ("body.0", 5)
    double = Gradients(model.module.double(), model.tap, make_images(64).double())
    assert_same_kernel(double, 64)


def test_a_source_without_a_head_is_refused(tmp_path: Path) -> None:
    model = load_source("torchvision:resnet18", tmp_path, classes=0, input_size=32)
    with pytest.raises(UsageError, match="source s: it has no head, and LGC needs gradients of outputs"):
        gradients.build_gradients(model, None)


class Mixing(nn.Module):
    """Subtracts the mean over the samples of a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.fc = nn.Conv2d(3, 6, 3, 2), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        return self.fc((x - x.mean(0, keepdim=True)).mean((2, 3)))


class TokensFirst(nn.Module):
    """Works on (tokens, batch, width), of which only the first token reaches the head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.mlp, self.fc = nn.Conv2d(3, 6, 8, 8), nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.first(x).flatten(2).permute(2, 0, 1)
        return self.fc(self.mlp(tokens).tanh()[0])


@pytest.mark.parametrize("network", [Mixing, TokensFirst])
def test_mixed_samples_are_refused(network: type[nn.Module]) -> None:
    torch.manual_seed(0)
    with pytest.raises(UsageError, match="mixes the samples of a batch; set gradient_layer"):
        make_gradients(network())


def test_no_weight_layer_before_the_features_is_refused() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 4))
    with pytest.raises(UsageError, match="no Conv2d or Linear comes before the features; set gradient_layer"):
        make_gradients(network)


def test_pieces_match_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network, x = OPEN["channels mixed by a norm"][0](), make_images(16, 5, seed=9).double()
    for projection in (None, Projection(100)):
        computed = make_gradients(network, projection=projection)
        monkeypatch.setattr(gradients, "FORMED", 0)
        whole = computed(x)
        monkeypatch.setattr(gradients, "ROOM", 1)
        for piece, vectors in zip(computed(x), whole, strict=True):
            torch.testing.assert_close(piece, vectors, rtol=1e-12, atol=1e-15)
        monkeypatch.undo()


# The projection -------------------------------------------------------------------------------------------------------


def wide() -> dict[str, Any]:
    """Networks for each way to project: one gradient, outer products, and outer products in groups."""
    return {"closed": CLOSED["batch norm, relu"], "outer": OPEN["channels mixed by a norm"][0], "grouped": odd}


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", wide())
@pytest.mark.parametrize("outer", [True, False])
def test_projected_products_are_unbiased(name: str, outer: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "FORMED", 0 if outer else 2**22)
    torch.manual_seed(0)
    network, x = wide()[name](), make_images(16, 3, seed=9).double()
    exact = make_gradients(network)
    unprojected = exact(x)
    projected = []
    for seed in range(count):
        exact.projection = Projection(40, seed)
        projected.append(exact(x))
    for kind in range(2):
        assert projected[0][kind].shape == (3, 40)
        expected = unprojected[kind] @ unprojected[kind].T
        scale = (expected.diagonal()[:, None] * expected.diagonal()) ** 0.5
        products = torch.stack([vectors[kind] @ vectors[kind].T for vectors in projected]) / scale
        off = products.mean(0) - expected / scale
        # Unbiased, with the variance of dense signs, up to 2 / q, or for outer products, whose signs are less
        # independent, up to four times that. Each bound leaves four standard errors: of the mean, and of a variance.
        assert (off.abs() <= 4 * products.std(0) / count**0.5 + 1e-12).all()
        assert products.var(0).max() <= (4 if outer else 1) * 2 / 40 * (1 + 4 * (2 / count) ** 0.5)


def test_spread_over_blocks_matches_spread_over_seeds() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(400, 2, generator=generator, dtype=torch.float64)
    whole, within = [], []
    for seed in range(300):
        projection = Projection(50, seed)
        sums = torch.zeros(BLOCKS, 10, 2, dtype=torch.float64)
        projection.add(sums, values, 0, 0)
        first, second = projection.to_vectors(sums)
        whole.append(float(first @ second))
        per_block = (first * second).reshape(BLOCKS, 10).sum(1) * BLOCKS
        within.append(float(per_block.var()) / BLOCKS)
    assert np.mean(within) == pytest.approx(np.var(whole), rel=0.2)


def test_a_projection_depends_on_the_seed_not_the_batch() -> None:
    torch.manual_seed(0)
    x = make_images(16, 5, seed=9).double()
    network = OPEN["channels mixed by a norm"][0]()
    computed = make_gradients(network, projection=Projection(100))
    whole = computed(x)
    for kind in range(2):
        alone = torch.cat([computed(image[None])[kind] for image in x])
        torch.testing.assert_close(alone, whole[kind], rtol=1e-10, atol=1e-14)
    other = make_gradients(network, projection=Projection(100, 1))(x)
    assert (other[0] - whole[0]).abs().max() > 0.1 * whole[0].abs().max()


def test_signed_buckets_do_not_depend_on_pieces() -> None:
    projection = Projection(50, 3)
    whole = projection.signed_buckets(2, 1, 0, 1000)
    assert torch.equal(
        torch.cat([projection.signed_buckets(2, 1, 0, 300), projection.signed_buckets(2, 1, 300, 700)]), whole
    )
    # The same on every machine.
    assert projection.signed_buckets(0, 0, 0, 6).tolist() == [0, 1, 18, 4, 6, 7]
    counts = torch.bincount(projection.signed_buckets(0, 0, 0, 20_000), minlength=20)
    assert counts.min() > 850
    assert counts.max() < 1150


def test_short_vectors_are_not_projected() -> None:
    torch.manual_seed(0)
    network, x = OPEN["channels mixed by a norm"][0](), make_images(16, 3, seed=9).double()
    exact, total = make_gradients(network)(x)
    shorter = make_gradients(network, projection=Projection(970))
    projected = make_gradients(network, projection=Projection(500))
    assert exact.shape == (3, 6 * 162)
    assert shorter(x)[0].shape == (3, 970)
    assert torch.equal(shorter(x)[1], total)
    assert torch.equal(make_gradients(network, projection=Projection(975))(x)[0], exact)
    assert torch.equal(projected(x)[1], total)


@pytest.mark.parametrize("size", [0, 3, 12])
def test_projection_size_is_a_multiple_of_five(size: int) -> None:
    with pytest.raises(UsageError, match=f"a projection to {size} numbers; give a multiple of 5"):
        Projection(size)


def test_the_reference_jacobian_matches_autograd() -> None:
    torch.manual_seed(0)
    computed, x = make_gradients(Residual()), make_images(16, 3, seed=9).double()
    weight = computed.hook.layer.weight.requires_grad_()
    logits = computed.network.module(x)
    rows = [torch.autograd.grad(logit, weight, retain_graph=True)[0].flatten() for logit in logits.flatten()]
    each = torch.stack(rows).reshape(3, -1, weight.numel())
    torch.testing.assert_close(
        reference_kernel(computed, x)[0], torch.einsum("ikp,jkp->ij", each, each), rtol=1e-10, atol=0
    )
