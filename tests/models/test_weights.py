"""Weights files: halves, wrappers, files that do not fit, and files that would run code."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.networks import Payload, images, load, write_code
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import weights
from zoo_cli.models.third_party import FORCED, UNFORCED, seeded, tensors_only

TINY = "python:nets.py:tiny"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


@pytest.fixture
def state(root: Path) -> dict[str, torch.Tensor]:
    return load(TINY, root, seed=7).module.state_dict()


def save(state: dict[str, Any], path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    return path.name


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_weights_load_from_safetensors_and_from_checkpoints(name: str, root: Path, state: dict[str, Any]) -> None:
    model = load(TINY, root, weights=save(state, root / name))
    for key, value in model.module.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    assert model.weights_sha256 == weights.file_sha256(root / name)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
def test_what_training_wrappers_leave_is_taken_off(prefix: str, nest: str | None, root: Path, state: Any) -> None:
    wrapped = {prefix + key: value for key, value in state.items()}
    name = save({nest: wrapped, "epoch": 3} if nest else wrapped, root / "w.pt")
    model = load(TINY, root, weights=name)
    torch.testing.assert_close(model.module.state_dict()["fc.bias"], state["fc.bias"], rtol=0, atol=0)


def test_halves_load_into_a_float32_module(root: Path, state: dict[str, Any]) -> None:
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    model = load(TINY, root, weights=save(halves, root / "w.safetensors"))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    torch.testing.assert_close(model.module.fc.weight, state["fc.weight"].half().float(), rtol=0, atol=0)
    assert load("python:nets.py:half", root).module.fc.weight.dtype == torch.float32


def test_checkpoints_from_before_batches_were_counted_load(root: Path, state: dict[str, Any]) -> None:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 1
    load(TINY, root, weights=save(old, root / "w.pt"))


def test_a_network_that_insists_on_its_version_loads_from_safetensors(root: Path) -> None:
    fresh = load("torchvision:mnasnet0_5", root, seed=3)
    save_file(fresh.module.state_dict(), root / "w.safetensors")
    again = load("torchvision:mnasnet0_5", root, weights="w.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again.module(images(64)), fresh.module(images(64)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("fc.bias"), "missing fc.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "unexpected extra"),
        (lambda s: s.update({"fc.weight": torch.zeros(7, 8)}), "fc.weight is 7x8 instead of 5x8"),
        (lambda s: [s.update({f"extra{i}": torch.zeros(1)}) for i in range(5)], "extra0, extra1, extra2 and 2 more"),
    ],
)
def test_weights_that_do_not_fit_name_the_first_keys(change: Any, words: str, root: Path, state: Any) -> None:
    other = dict(state)
    change(other)
    with pytest.raises(ContractError, match=f"does not fit the architecture: .*{words}"):
        load(TINY, root, weights=save(other, root / "w.safetensors"))


@pytest.mark.parametrize("writer", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data))])
@pytest.mark.parametrize("place", ["alone", "beside the tensors"])
def test_pickled_code_is_refused_and_never_runs(writer: Any, place: str, root: Path, state: Any) -> None:
    canary = root / "canary"
    writer(Payload(canary) if place == "alone" else {"state_dict": state, "args": Payload(canary)}, root / "w.pth")
    with pytest.raises(ContractError, match=r"w\.pth holds pickled code.*safetensors"):
        load(TINY, root, weights="w.pth")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists(), "the payload is one that works"


def test_a_whole_pickled_module_and_a_script_are_refused(root: Path) -> None:
    torch.save(nn.Linear(2, 2), root / "module.pt")
    with pytest.raises(ContractError, match="holds pickled code"):
        load(TINY, root, weights="module.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("keep", [0, 5, 200, -20])
def test_truncated_files_break_their_contract(name: str, keep: int, root: Path, state: dict[str, Any]) -> None:
    save(state, root / name)
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[:keep])
    with pytest.raises(ContractError, match=rf"{name} is no whole"):
        load(TINY, root, weights=name)


@pytest.mark.parametrize("data", [b"hello, world", b"\x00" * 100, b"{}", b"PK\x03\x04" + b"\x00" * 60])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_other_files_under_that_name_break_their_contract(name: str, data: bytes, root: Path) -> None:
    (root / name).write_bytes(data)
    with pytest.raises(ContractError, match=name):
        load(TINY, root, weights=name)


@pytest.mark.parametrize("data", [[1, 2], {"a": 3}, {}, {"state_dict": {}}, {3: torch.zeros(1)}])
def test_checkpoints_without_a_state_dict_say_so(data: Any, root: Path) -> None:
    torch.save(data, root / "w.pt")
    with pytest.raises(ContractError, match="holds no state dict"):
        load(TINY, root, weights="w.pt")


def test_a_missing_file_is_wrong_usage(root: Path) -> None:
    with pytest.raises(UsageError, match=r'source s: no weights file "gone.pt"'):
        load(TINY, root, weights="gone.pt")


def test_libraries_read_tensors_only_inside_the_guard(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNFORCED, "1")
    torch.save(Payload(root / "canary"), root / "w.pt")
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(root / "w.pt", weights_only=False)
    assert not (root / "canary").exists()
    assert (os.environ.get(FORCED), os.environ[UNFORCED]) == (None, "1")


def test_seeded_initialisation_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_hash_of_weights_sees_names_types_shapes_and_bytes() -> None:
    def hashed(**buffers: torch.Tensor) -> str:
        module = nn.Module()
        for name, value in buffers.items():
            module.register_buffer(name, value)
        return weights.state_sha256(module)

    x = torch.arange(4.0)
    cases = [
        {"a": x},
        {"b": x},
        {"a": x.reshape(2, 2)},
        {"a": x + 1},
        {"a": x.half()},
        {"a": x.bfloat16()},
        {"a": torch.tensor(3)},
        {"a": torch.zeros(0)},
    ]
    assert len({hashed(**case) for case in cases}) == len(cases)
    assert hashed(a=x, b=x + 1) == hashed(b=x + 1, a=x)
