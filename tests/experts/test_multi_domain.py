"""Networks of several domains: what a domain has of its own, how it trains, and how it folds into a plain network."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from tests.experts.single_workspace import NORMED, SOURCE
from tests.training.tiny_models import CPU, Run, weights
from tests.workspaces import MODELS
from zoo_cli.config import Source
from zoo_cli.errors import UsageError
from zoo_cli.models import loading, multi_domain
from zoo_cli.models.domain_student import DomainStudent, split_student
from zoo_cli.models.student import Student, build_student
from zoo_cli.objectives.domains import DomainLabels
from zoo_cli.objectives.supervised import Batch
from zoo_cli.pipeline.expert_config import KINDS
from zoo_cli.store import files
from zoo_cli.store.model_folders import DomainRecord
from zoo_cli.training import loop
from zoo_cli.training.training_config import LoopOptions

DOMAINS = (DomainRecord("birds", ("a", "b", "c")), DomainRecord("cars", ("d", "e")))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    (folder / "models.py").write_text(MODELS + NORMED)
    (folder / "zoo.toml").write_text(SOURCE)  # the code that it names may run
    return folder


def plain(root: Path, factory: str = "normed") -> Student:
    source = Source("net", f"python:models.py:{factory}", input_size=12, mean=(0.5,) * 3, std=(0.25,) * 3)
    return build_student(loading.load_model(source, root), DOMAINS[0].classes, seed=3)


def multi(root: Path, kind: str, domains: tuple[DomainRecord, ...] = DOMAINS) -> DomainStudent:
    return split_student(plain(root), kind, domains, seed=3)


def batch(step: int, domain: int | None = None, size: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(step)
    classes = len(DOMAINS[domain or 0].classes)
    images = torch.randn(size, 3, 12, 12, generator=generator)
    return Batch(images, torch.randint(0, classes, (size,), generator=generator), domain=domain)


def randomise(module: nn.Module) -> None:
    """Random weights and statistics, so that no two domains agree by chance."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                random = torch.randn(value.shape, generator=generator) * 0.3
                value.copy_(random.abs() + 0.5 if name.endswith("running_var") else random)


def test_multi_bn_of_one_domain_is_the_plain_network(root: Path) -> None:
    options = {"steps": 20, "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}
    alone = Run(plain(root), DomainLabels(), batch, **options).train()
    split = Run(multi(root, "multi-bn", DOMAINS[:1]), DomainLabels(), lambda step: batch(step, 0), **options).train()
    parts = multi_domain.find_own_parts(alone.student.module, "multi-bn", "9")
    folded = multi_domain.fold_state(split.student.module.state_dict(), parts, 0)
    expected = alone.student.module.state_dict()
    assert folded.keys() == expected.keys()
    assert all(torch.equal(folded[name], value) for name, value in expected.items())


def test_adapters_at_zero_are_multi_bn(root: Path) -> None:
    adapted, normed = multi(root, "adapter"), multi(root, "multi-bn")
    for domain in (0, 1):
        for student in (adapted, normed):
            student.select_domain(domain)
            student.train()
        for ours, theirs in zip(adapted(batch(domain).images), normed(batch(domain).images), strict=True):
            assert torch.equal(ours, theirs)


def test_adapter_is_a_parallel_convolution() -> None:
    conv = nn.Conv2d(4, 5, 3, stride=2, padding=1).double()
    adapted = multi_domain.AdaptedConv(conv, 2)
    adapted.domain = 1
    nn.init.normal_(adapted.adapters[1])
    images = torch.randn(2, 4, 9, 11, dtype=torch.float64)
    expected = conv(images) + functional.conv2d(images, adapted.adapters[1], stride=2)
    torch.testing.assert_close(adapted(images), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_parts_of_a_domain(root: Path, kind: str) -> None:
    student = multi(root, kind)
    own = {name for name, _ in student.module.named_parameters() if ".domains.1." in name or ".adapters.1" in name}
    norms = {f"{layer}.domains.1.{value}" for layer in (1, 4) for value in ("weight", "bias")}
    head = {"9.domains.1.weight", "9.domains.1.bias"}
    assert own == {"shared": head, "multi-bn": head | norms, "adapter": head | norms | {"0.adapters.1"}}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_folded_domain_is_the_network(root: Path, kind: str) -> None:
    student = multi(root, kind)
    randomise(student.module)
    student.eval()
    network = plain(root).module
    parts = multi_domain.find_own_parts(network, kind, "9")
    for domain, record in enumerate(DOMAINS):
        student.select_domain(domain)
        network[9] = nn.Linear(12, len(record.classes))
        network.load_state_dict(multi_domain.fold_state(student.module.state_dict(), parts, domain))
        with torch.no_grad():
            torch.testing.assert_close(
                network.eval()(batch(5).images),
                student(batch(5).images)[1],
                rtol=0,
                atol=0 if kind != "adapter" else 1e-6,
            )


RELOAD = """
import sys
from pathlib import Path
import torch
from zoo_cli.config import Source
from zoo_cli.models import loading
from zoo_cli.store import files
root = Path(sys.argv[1])
images = files.read_tensors(root / "images.safetensors")[0]["images"]
for kind in sys.argv[2:]:
    outputs = files.read_tensors(root / kind / "outputs.safetensors")[0]
    for name, expected in outputs.items():
        model = loading.load_model(Source(name, f"file:{kind}#{name}"), root)
        with torch.no_grad():
            print(kind, name, float((model.module(images) - expected).abs().max()), model.source.trained_on)
"""


def test_domains_are_reloaded_in_another_process(root: Path) -> None:
    images = batch(9).images
    save_file({"images": images}, root / "images.safetensors")
    for kind in KINDS:
        student = multi(root, kind)
        randomise(student.module)
        student.eval()
        student.trained_on = ("birds", "cars", "earlier")
        folder = root / kind
        folder.mkdir()
        save_file(student.plain_state_dict(), folder / "model.safetensors")
        files.write_json(folder / "config.json", student.config(folder))
        outputs = {}
        for number, domain in enumerate(DOMAINS):
            student.select_domain(number)
            with torch.no_grad():
                outputs[domain.name] = student(images)[1]
        save_file(outputs, folder / "outputs.safetensors")
    words = [sys.executable, "-c", RELOAD, str(root), *KINDS]
    result = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    lines = [line.split(maxsplit=3) for line in result.stdout.splitlines()]
    assert [(kind, name) for kind, name, *_ in lines] == [(kind, name) for kind in KINDS for name in ("birds", "cars")]
    assert all(float(difference) <= (1e-6 if kind == "adapter" else 0) for kind, _, difference, _ in lines)
    assert {seen for _, name, _, seen in lines if name == "cars"} == {"('cars', 'birds', 'earlier')"}


def reference_loss(shared: dict[str, Tensor], own: dict[str, Tensor], batch: Batch) -> Tensor:
    """The loss of a domain of the normed network, adapters included, written out."""

    def norm(x: Tensor, layer: int) -> Tensor:
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, correction=0)
        scale, bias = (own[f"{layer}.{name}"].view(1, -1, 1, 1) for name in ("weight", "bias"))
        return (x - mean) / (variance + 1e-5).sqrt() * scale + bias

    x = functional.conv2d(batch.images, shared["0.shared.weight"], stride=2, padding=1)
    x = norm(x + functional.conv2d(batch.images, own["adapter"], stride=2), 1).relu()
    x = functional.conv2d(x, shared["3.weight"], shared["3.bias"], padding=1, groups=6)
    x = functional.conv2d(norm(x, 4).relu(), shared["6.weight"], shared["6.bias"]).mean((2, 3))
    return functional.cross_entropy(x @ own["9.weight"].T + own["9.bias"], batch.labels)


def test_gradient_of_a_round_is_the_reference_loop(root: Path) -> None:
    student = multi(root, "adapter").double()
    randomise(student.module)
    student.train()
    values = dict(student.module.named_parameters())
    copies = {name: value.detach().clone().requires_grad_() for name, value in values.items()}
    total: Tensor | float = 0.0
    for domain in (1, 0):
        of_domain = batch(domain, domain)
        of_domain = Batch(of_domain.images.double(), of_domain.labels, domain=domain)
        loss, _ = DomainLabels().loss(student, of_domain)
        loss.backward()
        own = {name.replace(f".domains.{domain}", ""): value for name, value in copies.items()}
        own["adapter"] = copies[f"0.adapters.{domain}"]
        expected = reference_loss(copies, own, of_domain)
        torch.testing.assert_close(loss, expected, rtol=0, atol=1e-10)
        total = total + expected
    torch.autograd.backward(total)
    for name, value in values.items():
        torch.testing.assert_close(value.grad, copies[name].grad, rtol=0, atol=1e-10)


def parts_of(student: DomainStudent, momentum: dict[str, Tensor], domain: int) -> dict[str, Tensor]:
    """A copy of all that only this domain has: parameters, statistics, momentum."""
    every = {**student.module.state_dict(), **momentum}
    marks = (f".domains.{domain}.", f".adapters.{domain}")
    return {name: value.clone() for name, value in every.items() if any(mark in name for mark in marks)}


@pytest.mark.parametrize("kind", KINDS)
def test_step_leaves_the_other_domains_bit_equal(root: Path, kind: str) -> None:
    student = multi(root, kind)
    options = LoopOptions(steps=4, lr=0.1, momentum=0.9, weight_decay=0.1, schedule="constant")
    trainer = loop.Trainer(student, DomainLabels(), options, CPU)
    trainer.step(0, batch(0, 1))
    before = parts_of(student, trainer.momentum, 1)
    own = parts_of(student, trainer.momentum, 0)
    assert any(name.startswith("momentum/") and value.any() for name, value in before.items())
    for step in (1, 2):
        trainer.step(step, batch(step, 0))
    after = parts_of(student, trainer.momentum, 1)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not all(torch.equal(parts_of(student, trainer.momentum, 0)[name], value) for name, value in own.items())


def test_sgd_over_all_parameters_would_change_them(root: Path) -> None:
    """Gradients of zeros instead of none: what the loop must not do."""
    student = multi(root, "multi-bn")
    optimiser = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    before = parts_of(student, {}, 1)
    DomainLabels().loss(student, batch(1, 0))[0].backward()
    for parameter in student.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    optimiser.step()
    assert any(not torch.equal(parts_of(student, {}, 1)[name], value) for name, value in before.items())


@pytest.mark.parametrize("kind", ["multi-bn", "adapter"])
def test_network_without_such_layers_is_refused(kind: str) -> None:
    bare = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(UsageError, match=f"so {kind} has nothing to adapt"):
        multi_domain.find_own_parts(bare, kind, "2")


def test_layer_at_two_places_stays_one() -> None:
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.ReLU(), norm, nn.Flatten(), nn.Linear(3, 2))
    parts = multi_domain.find_own_parts(network, "multi-bn", "4")
    multi_domain.split_network(network, parts, [network[4], copy.deepcopy(network[4])])
    assert network[0] is network[2]
    assert weights(network[0].domains[0]).equal(weights(network[0].domains[1]))


def test_only_plain_three_by_three_convolutions_are_adapted() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return functional.conv2d(x, self.weight - self.weight.mean())

    network = nn.Sequential(
        nn.Conv2d(4, 4, 3, dilation=2), nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 4, 5), Standardised(4, 4, 3),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 3)),
    )  # fmt: skip
    assert multi_domain.find_own_parts(network, "adapter", "head").adapted == ("0",)
