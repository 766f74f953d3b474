"""The rule that finds features and logits, on networks for each of its branches."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.tiny_models import Net, make_images
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.capture import FeatureExtractor, find_tap


def find(module: nn.Module, classes: int | None = None, layer: str = "", head: bool = True) -> Any:
    return find_tap(module.eval(), make_images(), classes, layer, head)


def extract(module: nn.Module, **options: Any) -> tuple[Tensor, Tensor | None]:
    with torch.no_grad():
        features, logits = FeatureExtractor(module, find(module, **options))(make_images())
    return features, logits


@pytest.mark.parametrize("last", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1)])
def test_a_linear_head_is_found_behind_softmax(last: nn.Module) -> None:
    linear = nn.Linear(6, 4)
    net = Net(nn.Sequential(nn.Dropout(), linear, last))
    tap = find(net)
    assert (tap.module, tap.side, tap.head, tap.dim, tap.classes) == ("head.1", "input", "head.1", 6, 4)
    features, logits = extract(net)
    assert logits is not None
    torch.testing.assert_close(logits, linear(features), rtol=0, atol=0)
    torch.testing.assert_close(last(logits), net(make_images()), rtol=0, atol=0)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_pointwise_convolution_before_pooling_is_a_head(relu: bool, inplace: bool) -> None:
    conv = nn.Conv2d(6, 4, 1)
    act = nn.ReLU(inplace) if relu else nn.Identity()
    net = Net(nn.Sequential(nn.Dropout(), conv, act, nn.AdaptiveAvgPool2d(1), nn.Flatten()), pool=False)
    tap = find(net)
    assert (tap.head, tap.pool, tap.relu, tap.dim, tap.classes) == ("head.1", True, relu, 6, 4)
    features, logits = extract(net)
    assert features.shape == (2, 6)
    assert logits is not None
    torch.testing.assert_close(logits, net(make_images()))
    torch.testing.assert_close(features, net.body(make_images()).relu().mean((2, 3)))


def test_a_spatial_convolution_is_not_a_head() -> None:
    net = Net(nn.Sequential(nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), pool=False)
    assert find(net).head is None
    with pytest.raises(UsageError, match="feature_layer"):
        find(net, classes=4)


class Averaged(nn.Module):
    """Two heads whose outputs are averaged, as in a distilled transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.head_dist = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.head(x) + self.head_dist(x)) / 2


def test_averaged_heads_need_a_feature_layer() -> None:
    net = Net(Averaged())
    with pytest.raises(UsageError, match=r'feature_layer, e.g. "head.head:input"'):
        find(net, classes=4)
    tap = find(net, classes=4, layer="head.head:input")
    assert (tap.module, tap.dim, tap.head, tap.classes) == ("head.head", 6, "", 4)
    assert not tap.in_head
    features, logits = extract(net, classes=4, layer="head.head:input")
    assert logits is not None
    torch.testing.assert_close(logits, net(make_images()), rtol=0, atol=0)
    torch.testing.assert_close(features, net.body(make_images()).relu().mean((2, 3)), rtol=0, atol=0)


def test_averaged_probabilities_are_not_logits() -> None:
    net = Net(nn.Sequential(Averaged(), nn.Softmax(1)))
    with pytest.raises(UsageError, match="probabilities"):
        find(net, classes=4, layer="body")


def test_an_undeclared_output_is_the_feature() -> None:
    net = Net(nn.Identity())
    tap = find(net)
    assert (tap.module, tap.side, tap.head, tap.dim, tap.classes) == ("", "output", None, 6, 0)
    features, logits = extract(net)
    assert logits is None
    torch.testing.assert_close(features, net(make_images()), rtol=0, atol=0)


def test_a_feature_map_is_averaged_over_space() -> None:
    net = Net(nn.Identity(), pool=False)
    features, _ = extract(net)
    torch.testing.assert_close(features, net(make_images()).mean((2, 3)), rtol=0, atol=0)


def test_a_token_sequence_is_not_a_feature() -> None:
    with pytest.raises(UsageError, match="2x6x49 for two images and cannot be a feature"):
        find(Net(nn.Flatten(2), pool=False))


@pytest.mark.parametrize("options", [{"head": False}, {"classes": 0}])
def test_head_false_keeps_the_projection_in_the_encoder(options: dict[str, Any]) -> None:
    net = Net(nn.Linear(6, 4))
    tap = find(net, **options)
    assert (tap.module, tap.head, tap.dim) == ("", None, 4)


class Wrapped(nn.Module):
    """A network whose output a test wraps."""

    def __init__(self, wrap: Any):
        super().__init__()
        self.net, self.wrap = Net(nn.Linear(6, 4)), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.net(x))


@pytest.mark.parametrize("wrap", [lambda y: (y, None), lambda y: [y], lambda y: SimpleNamespace(logits=y)])
def test_tuples_and_objects_with_logits_are_outputs(wrap: Any) -> None:
    assert find(Wrapped(wrap)).head == "net.head"


def test_an_output_without_a_tensor_is_named() -> None:
    with pytest.raises(UsageError, match="dict"):
        find(Wrapped(lambda y: {"scores": y}))


class Twice(nn.Module):
    """One Linear that is called for the output first, and then for something else."""

    def __init__(self, matching: int):
        super().__init__()
        self.fc, self.matching = nn.Linear(6, 6), matching

    def forward(self, x: Tensor) -> Tensor:
        first = self.fc(x)
        second = self.fc(first)
        return (first, second)[self.matching] * 1


@pytest.mark.parametrize("matching", [0, 1])
def test_a_layer_called_twice_is_read_at_the_right_call(matching: int) -> None:
    net = Net(Twice(matching))
    assert find(net).call == matching
    features, logits = extract(net)
    assert logits is not None
    torch.testing.assert_close(net.head.fc(features), net(make_images()), rtol=0, atol=0)
    torch.testing.assert_close(logits, net(make_images()), rtol=0, atol=0)


class Reused(nn.Module):
    """A head whose input is changed in place after the head has read it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        x.zero_()
        return y


def test_later_in_place_changes_do_not_reach_the_features() -> None:
    net = Net(Reused())
    features, logits = extract(net)
    assert logits is not None
    torch.testing.assert_close(net.head.fc(features), logits, rtol=0, atol=0)
    assert features.abs().sum() > 0


def test_a_feature_layer_is_read_before_in_place_activation() -> None:
    net = Net(nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)))
    nn.init.constant_(net.head[0].bias, -2)
    tap = find(net, layer="head.0")
    assert (tap.module, tap.side, tap.dim, tap.head, tap.classes) == ("head.0", "output", 5, "head.2", 4)
    features, logits = extract(net, layer="head.0")
    assert features.min() < 0
    assert logits is not None
    torch.testing.assert_close(net.head[2](features.relu()), logits, rtol=0, atol=0)


def test_a_feature_layer_with_a_map_is_averaged() -> None:
    net = Net(nn.Linear(6, 4))
    features, _ = extract(net, layer="body")
    torch.testing.assert_close(features, net.body(make_images()).mean((2, 3)), rtol=0, atol=0)


def test_unknown_layer_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"nearest: head"):
        find(Net(nn.Linear(6, 4)), layer="haed")


def test_a_layer_that_never_runs_is_named() -> None:
    net = Net(nn.Linear(6, 4))
    net.spare = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="never calls"):
        find(net, layer="spare")


def test_outputs_that_are_not_finite_are_refused() -> None:
    net = Net(nn.Linear(6, 4))
    with torch.no_grad():
        net.head.weight[0, 0] = torch.inf
    with pytest.raises(ContractError, match="not finite"):
        find(net)


def test_finding_the_tap_leaves_no_hooks() -> None:
    net = Net(nn.Linear(6, 4)).eval()
    before = net(make_images())
    find(net)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    torch.testing.assert_close(net(make_images()), before, rtol=0, atol=0)


def test_a_deep_copy_hooks_its_own_layers() -> None:
    net = Net(nn.Linear(6, 4))
    extractor = FeatureExtractor(net, find(net))
    other = copy.deepcopy(extractor)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        features, logits = extractor(make_images())
        assert logits.abs().sum() > 0
        assert features.abs().sum() > 0
        assert other(make_images())[1].abs().sum() == 0


def test_no_tensor_is_kept_after_a_call() -> None:
    net = Net(nn.Linear(6, 4))
    extractor = FeatureExtractor(net, find(net))
    extractor(make_images())
    net(make_images())
    assert extractor.hook.features is None
    assert extractor.hook.logits is None


def test_features_follow_autocast_and_memory_format() -> None:
    net = Net(nn.Linear(6, 4))
    extractor = FeatureExtractor(net, find(net))
    with torch.no_grad():
        features, _ = extractor(make_images())
        rows, _ = extractor.to(memory_format=torch.channels_last)(make_images().to(memory_format=torch.channels_last))
        torch.testing.assert_close(rows, features)
        with torch.autocast("cpu", torch.bfloat16):
            half, logits = extractor(make_images())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), features, rtol=0.02, atol=0.02)


@pytest.mark.gpu
def test_gpu_features_match_the_cpu() -> None:
    net = Net(nn.Linear(6, 4))
    extractor = FeatureExtractor(net, find(net))
    with torch.no_grad():
        here = extractor(make_images())
        there = extractor.cuda()(make_images().cuda())
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3)


def test_a_tap_at_an_uncalled_layer_is_an_error() -> None:
    net = Net(nn.Linear(6, 4))
    tap = replace(find(net), call=1)
    with pytest.raises(ContractError, match="was not called"):
        FeatureExtractor(net, tap)(make_images())
