"""Weights files: float16, wrappers, files that do not fit, and files that would run code."""

import contextlib
import os
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.tiny_models import CODE, Payload, load_source, make_images, write_code
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models import weights
from zoo_cli.models.third_party import FORCED, UNFORCED, seeded, tensors_only
from zoo_cli.store import files

TINY = "python:nets.py:tiny"
WRAPPED = """
def wrapped(name):
    holder = Tiny(8, 5)
    net = nn.Module()
    setattr(net, name, holder)
    net.forward = holder.forward
    return net
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_code(tmp_path)
    return tmp_path


@pytest.fixture
def state(root: Path) -> dict[str, torch.Tensor]:
    return load_source(TINY, root, seed=7).module.state_dict()


def save_state(state: dict[str, Any], path: Path) -> str:
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    return path.name


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt", "w.pth"])
def test_safetensors_and_checkpoints_load(name: str, root: Path, state: dict[str, Any]) -> None:
    model = load_source(TINY, root, weights=save_state(state, root / name))
    for key, value in model.module.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)
    assert model.weights_sha256 == files.digest(root / name)


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model._orig_mod.module.model."]
NESTS = ["", "state_dict", "model", "model_state_dict", "state_dict_ema", "generator", "state_dict/model"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("nest", NESTS)
def test_wrappers_are_stripped(prefix: str, nest: str, root: Path, state: Any) -> None:
    wrapped: dict[str, Any] = {prefix + key: value for key, value in state.items()}
    for key in filter(None, reversed(nest.split("/"))):
        wrapped = {"epoch": 3, key: wrapped, "args": Namespace(lr=0.1, betas=(0.9, 0.99))}
    model = load_source(TINY, root, weights=save_state(wrapped, root / "w.pt"))
    torch.testing.assert_close(model.module.state_dict()["fc.bias"], state["fc.bias"], rtol=0, atol=0)


def test_a_compiled_part_of_a_network_is_unwrapped(root: Path, state: Any) -> None:
    wrapped = {
        key.replace("body.", "body._orig_mod.").replace("fc.", "fc._fsdp_wrapped_module."): state[key] for key in state
    }
    model = load_source(TINY, root, weights=save_state(wrapped, root / "w.pt"))
    assert weights.state_sha256(model.module) == weights.state_sha256(load_source(TINY, root, seed=7).module)


def test_an_averaged_parallel_model_loads(root: Path, state: Any) -> None:
    averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(load_source(TINY, root, seed=7).module)).state_dict()
    assert {"n_averaged", "module.module.fc.bias"} <= averaged.keys()
    model = load_source(TINY, root, weights=save_state(averaged, root / "w.pt"))
    torch.testing.assert_close(model.module.state_dict()["fc.bias"], state["fc.bias"], rtol=0, atol=0)


def test_plain_values_may_stand_beside_the_tensors(root: Path, state: Any) -> None:
    options = Namespace(out=Path("runs/a"), device=torch.device("cpu"), best=np.float64(0.9), betas=(0.9, 0.99))
    means = {"means": np.ones(3), "names": np.array(["a"], dtype=object), "options": vars(options)}
    file = save_state({"epoch": np.int64(3), "args": options, "model": state, **means}, root / "w.pt")
    model = load_source(TINY, root, weights=file)
    assert weights.state_sha256(model.module) == weights.state_sha256(load_source(TINY, root, seed=7).module)
    file = save_state({**state, "fc.bias": np.ones(5)}, root / "w.pt")
    with pytest.raises(ContractError, match=r'"fc.bias" is NumpyValue, not a tensor'):
        load_source(TINY, root, weights=file)


def test_code_among_options_is_refused(root: Path, state: Any) -> None:
    options = Namespace(lr=0.1, callback=Payload(root / "canary"))
    with pytest.raises(ContractError, match="holds pickled code"):
        load_source(TINY, root, weights=save_state({"model": state, "args": options}, root / "w.pt"))
    assert not (root / "canary").exists()


@pytest.mark.parametrize("name", ["model", "module"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_prefixes_of_the_network_itself_stay(name: str, prefix: str, root: Path) -> None:
    write_code(root, CODE + WRAPPED)
    made = load_source("python:nets.py:wrapped", root, seed=7, args={"name": name})
    state = {prefix + key: value for key, value in made.module.state_dict().items()}
    file = save_state(state, root / "w.pt")
    again = load_source("python:nets.py:wrapped", root, weights=file, args={"name": name})
    assert weights.state_sha256(again.module) == weights.state_sha256(made.module)


def test_a_prefix_that_is_not_a_wrapper_is_named(root: Path, state: Any) -> None:
    parts = {f"backbone.{key}": value for key, value in state.items()}
    parts["loss.weight"] = torch.ones(5)
    with pytest.raises(ContractError, match=r'remove the prefix "backbone." from its keys and drop loss.weight'):
        load_source(TINY, root, weights=save_state(parts, root / "w.pt"))


def test_several_state_dicts_are_named(root: Path, state: Any) -> None:
    file = save_state({"teacher": state, "student": state, "epoch": 3}, root / "w.pt")
    with pytest.raises(ContractError, match=r'w\.pt holds 2 state dicts: teacher, student.*\["teacher"\]'):
        load_source(TINY, root, weights=file)


def test_a_checkpoint_that_contains_itself_ends(root: Path) -> None:
    endless: dict[str, Any] = {}
    endless["model"] = endless
    with pytest.raises(ContractError, match="holds no state dict"):
        load_source(TINY, root, weights=save_state(endless, root / "w.pt"))


def save_program(kind: str, module: nn.Module, path: Path) -> None:
    images = make_images(16)
    if kind == "TorchScript":
        torch.jit.trace(module, images).save(str(path))
    elif kind == "pt2":
        torch.export.save(torch.export.export(module, (images,)), path)
    else:
        # ModelProto: ir_version 8, producer_name "pytorch", then the graph
        path.write_bytes(b"\x08\x08\x12\x07pytorch\x3a\x00" + bytes(100))


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning", "ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("ending", ["pt", "safetensors", "own"])
@pytest.mark.parametrize("kind", ["TorchScript", pytest.param("pt2", marks=pytest.mark.slow), "ONNX"])
def test_programs_given_as_weights_are_named(kind: str, ending: str, root: Path, state: Any) -> None:
    ending = {"TorchScript": "ts", "pt2": "pt2", "ONNX": "onnx"}[kind] if ending == "own" else ending
    module = load_source(TINY, root).module
    module.load_state_dict(state)
    save_program(kind, module, root / f"net.{ending}")
    with pytest.raises(ContractError, match=f"is an? {kind} program") as caught:
        load_source(TINY, root, weights=f"net.{ending}")
    if kind == "ONNX":
        assert f'"onnx:net.{ending}"' in str(caught.value.hint)
        return
    code = caught.value.hint.partition(": ")[2].replace("NEW_FILE", '"saved.safetensors"')
    with contextlib.chdir(root):
        exec(f"import torch, safetensors.torch\n{code}")
    model = load_source(TINY, root, weights="saved.safetensors")
    torch.testing.assert_close(model.module.state_dict()["fc.bias"], state["fc.bias"], rtol=0, atol=0)


def test_a_file_is_not_a_folder(root: Path) -> None:
    save_program("ONNX", nn.Identity(), root / "net.onnx")
    with pytest.raises(ContractError, match="is an ONNX program") as caught:
        load_source("file:net.onnx", root)
    assert 'model = "onnx:net.onnx"' in str(caught.value.hint)
    torch.save({}, root / "w.pt")
    with pytest.raises(UsageError, match=r'"w.pt" is a file, not a folder; name a network, and weights = "w.pt"'):
        load_source("file:w.pt", root)


@pytest.mark.parametrize("entry", ["net/archive_format", "serialized_exported_program.json"])
def test_archives_of_torch_export_are_named(entry: str, root: Path) -> None:
    with zipfile.ZipFile(root / "net.pt2", "w") as archive:
        archive.writestr(entry, "pt2")
    with pytest.raises(ContractError, match=r"net\.pt2 is a pt2 program of torch\.export"):
        load_source(TINY, root, weights="net.pt2")


def test_float16_loads_into_a_float32_module(root: Path, state: dict[str, Any]) -> None:
    halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    model = load_source(TINY, root, weights=save_state(halves, root / "w.safetensors"))
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}
    torch.testing.assert_close(model.module.fc.weight, state["fc.weight"].half().float(), rtol=0, atol=0)
    assert load_source("python:nets.py:half", root).module.fc.weight.dtype == torch.float32


def test_checkpoints_without_batch_counters_load(root: Path, state: dict[str, Any]) -> None:
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(state) - 1
    load_source(TINY, root, weights=save_state(old, root / "w.pt"))


def test_mnasnet_loads_from_safetensors(root: Path) -> None:
    fresh = load_source("torchvision:mnasnet0_5", root, seed=3)
    save_file(fresh.module.state_dict(), root / "w.safetensors")
    again = load_source("torchvision:mnasnet0_5", root, weights="w.safetensors")
    with torch.no_grad():
        torch.testing.assert_close(again.module(make_images(64)), fresh.module(make_images(64)), rtol=0, atol=0)


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
        load_source(TINY, root, weights=save_state(other, root / "w.safetensors"))


@pytest.mark.parametrize("writer", [torch.save, lambda data, path: path.write_bytes(pickle.dumps(data))])
@pytest.mark.parametrize("place", ["alone", "beside the tensors"])
def test_pickled_code_is_refused_and_never_runs(writer: Any, place: str, root: Path, state: Any) -> None:
    canary = root / "canary"
    writer(Payload(canary) if place == "alone" else {"state_dict": state, "args": Payload(canary)}, root / "w.pth")
    with pytest.raises(ContractError, match=r"w\.pth holds pickled code.*safetensors"):
        load_source(TINY, root, weights="w.pth")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Payload(canary)))
    assert canary.exists(), "the payload works when it is run"


def test_a_pickled_module_is_refused(root: Path) -> None:
    torch.save(nn.Linear(2, 2), root / "module.pt")
    with pytest.raises(ContractError, match="holds pickled code"):
        load_source(TINY, root, weights="module.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
@pytest.mark.parametrize("keep", [0, 5, 200, -20])
def test_truncated_files_are_contract_errors(name: str, keep: int, root: Path, state: dict[str, Any]) -> None:
    save_state(state, root / name)
    data = (root / name).read_bytes()
    (root / name).write_bytes(data[:keep])
    with pytest.raises(ContractError, match=rf"{name} is not a complete"):
        load_source(TINY, root, weights=name)


@pytest.mark.parametrize("data", [b"hello, world", b"\x00" * 100, b"{}", b"PK\x03\x04" + b"\x00" * 60])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_other_files_are_contract_errors(name: str, data: bytes, root: Path) -> None:
    (root / name).write_bytes(data)
    with pytest.raises(ContractError, match=name):
        load_source(TINY, root, weights=name)


@pytest.mark.parametrize("data", [[1, 2], {"a": 3}, {}, {"state_dict": {}}, {3: torch.zeros(1)}])
def test_checkpoints_without_a_state_dict_are_refused(data: Any, root: Path) -> None:
    torch.save(data, root / "w.pt")
    with pytest.raises(ContractError, match="holds no state dict"):
        load_source(TINY, root, weights="w.pt")


def test_a_missing_file_is_a_usage_error(root: Path) -> None:
    with pytest.raises(UsageError, match=r'source s: no weights file "gone.pt"'):
        load_source(TINY, root, weights="gone.pt")


def test_tensors_only_holds_for_libraries(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNFORCED, "1")
    torch.save(Payload(root / "canary"), root / "w.pt")
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(root / "w.pt", weights_only=False)
    assert not (root / "canary").exists()
    assert (os.environ.get(FORCED), os.environ[UNFORCED]) == (None, "1")


def test_seeded_keeps_the_global_generator() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.rand(2)
    with seeded(3):
        assert torch.equal(torch.rand(2), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_state_hash_covers_names_types_shapes_and_bytes() -> None:
    def hash_buffers(**buffers: torch.Tensor) -> str:
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
    assert len({hash_buffers(**case) for case in cases}) == len(cases)
    assert hash_buffers(a=x, b=x + 1) == hash_buffers(b=x + 1, a=x)
