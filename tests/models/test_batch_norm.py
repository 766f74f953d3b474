"""Batch-norm recalibration: the statistics are those of the batches, and nothing else changes."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn
from torchvision.models import mobilenet_v3_small

from tests.models.tiny_models import make_images
from zoo_cli.models.batch_norm import recalibrate


def network(dropout: float = 0.0, **options: Any) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, 2),
        nn.BatchNorm2d(5, **options),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(5, 4, 3),
        nn.BatchNorm2d(4, **options),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
        nn.BatchNorm1d(3, **options),
    )


def make_batches(count: int) -> list[Tensor]:
    return [3 * make_images(16, count=6, seed=number) + number for number in range(count)]


def statistics(module: nn.Module) -> list[Tensor]:
    return [buffer.clone() for name, buffer in module.named_buffers() if "running" in name]


@pytest.mark.parametrize("momentum", [0.1, 0.01, None])
def test_one_batch_gives_its_own_statistics(momentum: float | None) -> None:
    net = network(momentum=momentum)
    net.train()
    for batch in make_batches(3):  # earlier statistics are forgotten
        net(batch)
    x = make_batches(1)[0]
    recalibrate(net, [x])
    with torch.no_grad():
        for layer in net.eval():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                across = [axis for axis in range(x.ndim) if axis != 1]
                torch.testing.assert_close(layer.running_mean, x.mean(across), rtol=1e-5, atol=1e-6)
                torch.testing.assert_close(layer.running_var, x.var(across, unbiased=True), rtol=1e-5, atol=1e-6)
                layer.train()  # later layers saw this one normalise by the batch
            x = layer(x)


def test_batches_are_averaged_as_in_torch() -> None:
    net, reference = network(momentum=0.01), network(momentum=0.01)
    reference.load_state_dict(net.state_dict())
    recalibrate(net, iter(make_batches(4)))
    update_bn(make_batches(4), reference)
    for value, expected in zip(net.state_dict().values(), reference.state_dict().values(), strict=True):
        assert torch.equal(value, expected)
    first = net[1]
    assert isinstance(first, nn.BatchNorm2d)
    means = torch.stack([net[0](x).mean((0, 2, 3)) for x in make_batches(4)])
    torch.testing.assert_close(first.running_mean, means.mean(0).detach(), rtol=1e-4, atol=1e-5)


def test_dropout_gradients_and_random_numbers_are_unused() -> None:
    net, without_dropout = network(dropout=0.9), network()
    without_dropout.load_state_dict(net.state_dict())
    state = torch.get_rng_state()
    recalibrate(net.train(), make_batches(2))
    recalibrate(without_dropout, make_batches(2))
    assert torch.equal(torch.get_rng_state(), state)
    for value, expected in zip(statistics(net), statistics(without_dropout), strict=True):
        assert torch.equal(value, expected)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_parameters_momentum_and_flags_are_kept(training: bool) -> None:
    net = network(momentum=0.03).train(training)
    net[1].train(not training)
    flags = [module.training for module in net.modules()]
    before = [parameter.detach().clone() for parameter in net.parameters()]
    recalibrate(net, make_batches(2))
    assert [module.training for module in net.modules()] == flags
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    assert all(layer.momentum == 0.03 for layer in (net[1], net[5], net[9]))


def test_flags_and_momentum_are_restored_after_an_error() -> None:
    net = network(momentum=0.03).train()
    with pytest.raises(RuntimeError):
        recalibrate(net, [make_batches(1)[0], torch.zeros(2, 7, 16, 16)])
    assert all(module.training for module in net.modules())
    assert net[1].momentum == 0.03


def test_no_batch_is_an_error_and_changes_nothing() -> None:
    net = network().train()
    net(make_batches(1)[0])
    before = statistics(net)
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate(net, [])
    assert all(torch.equal(a, b) for a, b in zip(before, statistics(net), strict=True))


@pytest.mark.parametrize("net", [nn.Flatten(), nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False))])
def test_a_network_without_statistics_is_not_run(net: nn.Module) -> None:
    def batches() -> Any:
        raise AssertionError("a batch was read")
        yield

    recalibrate(net, batches())


def test_recalibration_rescues_a_short_mobilenet_training() -> None:
    net = mobilenet_v3_small(num_classes=2)
    assert {layer.momentum for layer in net.modules() if isinstance(layer, nn.BatchNorm2d)} == {0.01}
    labels = torch.arange(32) % 2
    generator = torch.Generator().manual_seed(0)

    def make_batch() -> Tensor:
        noise = torch.randn(32, 3, 32, 32, generator=generator)
        stripes = torch.sin(torch.arange(32.0) * 1.5).view(1, 1, 1, 32).expand(1, 3, 32, 32)
        return noise + torch.where(labels.view(-1, 1, 1, 1) == 1, stripes, stripes.transpose(2, 3))

    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    net.train()
    for _ in range(25):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(make_batch()), labels).backward()
        optimiser.step()

    def accuracy() -> float:
        with torch.no_grad():
            return float((net.eval()(test).argmax(1) == labels).float().mean())

    test = make_batch()
    stale = accuracy()
    recalibrate(net, [make_batch() for _ in range(8)])
    assert stale < 0.7
    assert accuracy() > 0.9
