"""Our step of SGD is that of torch.optim.SGD, to the bit, and does not import torch's compiler."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from zoo_cli.training.sgd import Sgd


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def make_sgd(network: nn.Module, momentum: float, weight_decay: float, *, nesterov: bool) -> Sgd:
    parameters = list(network.parameters())
    buffers: list[Tensor | None] = [torch.zeros_like(p) if momentum else None for p in parameters]
    return Sgd(parameters, buffers, 0.1, momentum, weight_decay, nesterov, torch.zeros(()))


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "nesterov"), [(0.9, 1e-2, False), (0.9, 0.0, True), (0.0, 1e-2, False)]
)
def test_steps_are_those_of_torch(momentum: float, weight_decay: float, nesterov: bool) -> None:
    networks = make_network(), make_network()
    ours = make_sgd(networks[0], momentum, weight_decay, nesterov=nesterov)
    theirs = torch.optim.SGD(
        networks[1].parameters(), 0.1, momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True
    )
    for step in range(5):
        ours.set_rate(0.1 / (step + 1))
        theirs.param_groups[0]["lr"] = 0.1 / (step + 1)
        inputs = torch.randn(6, 5)
        for network, optimiser in zip(networks, (ours, theirs), strict=True):
            optimiser.zero_grad()
            network(inputs).square().sum().backward()
            optimiser.step()
    for own, other in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(own, other)


def test_a_step_on_a_gradient_that_is_not_finite_changes_nothing() -> None:
    network = make_network()
    before = [parameter.clone() for parameter in network.parameters()]
    optimiser = make_sgd(network, 0.9, 0.0, nesterov=False)
    network(torch.ones(6, 5)).sum().backward()
    optimiser.found_inf.fill_(1)
    optimiser.step()
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))


def test_parameters_without_a_gradient_stay() -> None:
    network = make_network()
    optimiser = make_sgd(network, 0.9, 0.1, nesterov=False)
    optimiser.step()
    assert all(torch.equal(*pair) for pair in zip(network.parameters(), make_network().parameters(), strict=True))


def test_training_imports_no_compiler() -> None:
    code = """
import sys, torch
from zoo_cli.pipeline import cross_task_runs
from zoo_cli.training.sgd import Sgd
weight = torch.ones(3, requires_grad=True)
weight.sum().backward()
Sgd([weight], [torch.zeros(3)], 0.1, 0.9, 0.0, False, torch.zeros(())).step()
sys.exit("torch._dynamo" in sys.modules or "torchvision" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
