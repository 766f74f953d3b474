"""The rule that decides where features are taken, on networks made for each of its branches."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.models.networks import Net, images
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.capture import FeatureExtractor, find_tap


def tap_of(module: nn.Module, classes: int | None = None, layer: str = "", head: bool = True) -> Any:
    return find_tap(module.eval(), images(), classes, layer, head)


def seen(module: nn.Module, **said: Any) -> tuple[Tensor, Tensor | None]:
    with torch.no_grad():
        features, logits = FeatureExtractor(module, tap_of(module, **said))(images())
    return features, logits


@pytest.mark.parametrize("last", [nn.Identity(), nn.Softmax(1), nn.LogSoftmax(1)])
def test_a_linear_head_is_found_through_softmax_and_logits_are_what_enters_it(last: nn.Module) -> None:
    linear = nn.Linear(6, 4)
    net = Net(nn.Sequential(nn.Dropout(), linear, last))
    tap = tap_of(net)
    assert (tap.module, tap.side, tap.head, tap.dim, tap.classes) == ("head.1", "input", "head.1", 6, 4)
    features, logits = seen(net)
    assert logits is not None
    torch.testing.assert_close(logits, linear(features), rtol=0, atol=0)
    torch.testing.assert_close(last(logits), net(images()), rtol=0, atol=0)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_a_pointwise_convolution_before_pooling_is_a_head(relu: bool, inplace: bool) -> None:
    conv = nn.Conv2d(6, 4, 1)
    act = nn.ReLU(inplace) if relu else nn.Identity()
    net = Net(nn.Sequential(nn.Dropout(), conv, act, nn.AdaptiveAvgPool2d(1), nn.Flatten()), pool=False)
    tap = tap_of(net)
    assert (tap.head, tap.pool, tap.relu, tap.dim, tap.classes) == ("head.1", True, relu, 6, 4)
    features, logits = seen(net)
    assert features.shape == (2, 6)
    assert logits is not None
    torch.testing.assert_close(logits, net(images()))
    torch.testing.assert_close(features, net.body(images()).relu().mean((2, 3)))


def test_a_spatial_convolution_is_no_head() -> None:
    net = Net(nn.Sequential(nn.Conv2d(6, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), pool=False)
    assert tap_of(net).head is None
    with pytest.raises(UsageError, match="feature_layer"):
        tap_of(net, classes=4)


class Averaged(nn.Module):
    """Two heads whose outputs are averaged, as in a distilled transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.head_dist = nn.Linear(6, 4), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return (self.head(x) + self.head_dist(x)) / 2


def test_averaged_heads_ask_for_a_feature_layer_and_then_give_features_and_logits() -> None:
    net = Net(Averaged())
    with pytest.raises(UsageError, match=r'feature_layer, e.g. "head.head:input"'):
        tap_of(net, classes=4)
    tap = tap_of(net, classes=4, layer="head.head:input")
    assert (tap.module, tap.dim, tap.head, tap.classes) == ("head.head", 6, "", 4)
    assert not tap.in_head
    features, logits = seen(net, classes=4, layer="head.head:input")
    assert logits is not None
    torch.testing.assert_close(logits, net(images()), rtol=0, atol=0)
    torch.testing.assert_close(features, net.body(images()).relu().mean((2, 3)), rtol=0, atol=0)


def test_averaged_probabilities_are_refused_as_logits() -> None:
    net = Net(nn.Sequential(Averaged(), nn.Softmax(1)))
    with pytest.raises(UsageError, match="probabilities"):
        tap_of(net, classes=4, layer="body")


def test_an_output_that_nothing_declares_as_classes_is_the_feature() -> None:
    net = Net(nn.Identity())
    tap = tap_of(net)
    assert (tap.module, tap.side, tap.head, tap.dim, tap.classes) == ("", "output", None, 6, 0)
    features, logits = seen(net)
    assert logits is None
    torch.testing.assert_close(features, net(images()), rtol=0, atol=0)


def test_a_feature_map_is_averaged_over_space() -> None:
    net = Net(nn.Identity(), pool=False)
    features, _ = seen(net)
    torch.testing.assert_close(features, net(images()).mean((2, 3)), rtol=0, atol=0)


def test_a_sequence_of_tokens_is_no_feature() -> None:
    with pytest.raises(UsageError, match="2x6x49"):
        tap_of(Net(nn.Flatten(2), pool=False))


@pytest.mark.parametrize("said", [{"head": False}, {"classes": 0}])
def test_a_last_projection_belongs_to_the_encoder_if_the_user_says_so(said: dict[str, Any]) -> None:
    net = Net(nn.Linear(6, 4))
    tap = tap_of(net, **said)
    assert (tap.module, tap.head, tap.dim) == ("", None, 4)


class Wrapped(nn.Module):
    """A network whose output comes in the clothes of a test."""

    def __init__(self, dress: Any):
        super().__init__()
        self.net, self.dress = Net(nn.Linear(6, 4)), dress

    def forward(self, x: Tensor) -> Any:
        return self.dress(self.net(x))


@pytest.mark.parametrize("dress", [lambda y: (y, None), lambda y: [y], lambda y: SimpleNamespace(logits=y)])
def test_outputs_come_as_tuples_and_objects_with_logits(dress: Any) -> None:
    assert tap_of(Wrapped(dress)).head == "net.head"


def test_an_output_without_a_tensor_is_named() -> None:
    with pytest.raises(UsageError, match="dict"):
        tap_of(Wrapped(lambda y: {"scores": y}))


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
def test_a_layer_that_is_called_twice_is_read_at_the_call_that_gives_the_output(matching: int) -> None:
    net = Net(Twice(matching))
    assert tap_of(net).call == matching
    features, logits = seen(net)
    assert logits is not None
    torch.testing.assert_close(net.head.fc(features), net(images()), rtol=0, atol=0)
    torch.testing.assert_close(logits, net(images()), rtol=0, atol=0)


class Reused(nn.Module):
    """A head whose input is changed in place after it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.fc(x)
        x.zero_()
        return y


def test_a_later_change_in_place_does_not_reach_the_features() -> None:
    net = Net(Reused())
    features, logits = seen(net)
    assert logits is not None
    torch.testing.assert_close(net.head.fc(features), logits, rtol=0, atol=0)
    assert features.abs().sum() > 0


def test_a_feature_layer_is_read_before_an_activation_in_place() -> None:
    net = Net(nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 4)))
    nn.init.constant_(net.head[0].bias, -2)
    tap = tap_of(net, layer="head.0")
    assert (tap.module, tap.side, tap.dim, tap.head, tap.classes) == ("head.0", "output", 5, "head.2", 4)
    features, logits = seen(net, layer="head.0")
    assert features.min() < 0
    assert logits is not None
    torch.testing.assert_close(net.head[2](features.relu()), logits, rtol=0, atol=0)


def test_a_feature_layer_with_a_map_is_averaged_over_space() -> None:
    net = Net(nn.Linear(6, 4))
    features, _ = seen(net, layer="body")
    torch.testing.assert_close(features, net.body(images()).mean((2, 3)), rtol=0, atol=0)


def test_an_unknown_layer_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"nearest: head"):
        tap_of(Net(nn.Linear(6, 4)), layer="haed")


def test_a_layer_that_never_runs_is_named() -> None:
    net = Net(nn.Linear(6, 4))
    net.spare = nn.Linear(2, 2)
    with pytest.raises(UsageError, match="never calls"):
        tap_of(net, layer="spare")


def test_outputs_that_are_not_finite_are_an_error_of_the_weights() -> None:
    net = Net(nn.Linear(6, 4))
    with torch.no_grad():
        net.head.weight[0, 0] = torch.inf
    with pytest.raises(ContractError, match="not finite"):
        tap_of(net)


def test_deciding_leaves_no_hook_and_no_other_output_behind() -> None:
    net = Net(nn.Linear(6, 4)).eval()
    before = net(images())
    tap_of(net)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    torch.testing.assert_close(net(images()), before, rtol=0, atol=0)


def test_a_deep_copy_listens_to_its_own_layers() -> None:
    net = Net(nn.Linear(6, 4))
    tapped = FeatureExtractor(net, tap_of(net))
    other = copy.deepcopy(tapped)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
        features, logits = tapped(images())
        assert logits.abs().sum() > 0
        assert features.abs().sum() > 0
        assert other(images())[1].abs().sum() == 0


def test_a_model_keeps_no_batch_alive_after_a_call() -> None:
    net = Net(nn.Linear(6, 4))
    tapped = FeatureExtractor(net, tap_of(net))
    tapped(images())
    net(images())
    assert tapped.listener.features is None
    assert tapped.listener.logits is None


def test_features_follow_autocast_and_memory_format() -> None:
    net = Net(nn.Linear(6, 4))
    tapped = FeatureExtractor(net, tap_of(net))
    with torch.no_grad():
        features, _ = tapped(images())
        rows, _ = tapped.to(memory_format=torch.channels_last)(images().to(memory_format=torch.channels_last))
        torch.testing.assert_close(rows, features)
        with torch.autocast("cpu", torch.bfloat16):
            half, logits = tapped(images())
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), features, rtol=0.02, atol=0.02)


@pytest.mark.gpu
def test_features_on_a_gpu_are_those_of_the_cpu() -> None:
    net = Net(nn.Linear(6, 4))
    tapped = FeatureExtractor(net, tap_of(net))
    with torch.no_grad():
        here = tapped(images())
        there = tapped.cuda()(images().cuda())
    for a, b in zip(here, there, strict=True):
        torch.testing.assert_close(a, b.cpu(), rtol=1e-3, atol=1e-3)


def test_a_tap_whose_layer_is_not_called_says_so() -> None:
    net = Net(nn.Linear(6, 4))
    tap = replace(tap_of(net), call=1)
    with pytest.raises(ContractError, match="was not called"):
        FeatureExtractor(net, tap)(images())
