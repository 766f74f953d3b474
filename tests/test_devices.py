"""--device: what it takes, what it refuses, and what it tries before any work."""

import warnings
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
import torch

from tests.workspaces import make, run
from zoo_cli import console, devices
from zoo_cli.errors import UsageError, ZooError

NO_KERNEL = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be"
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver."
COMMANDS = {
    "extract": ("extract",),
    "gradients": ("extract", "--gradients"),
    "views": ("extract", "--views", "1"),
    "distill": ("distill", "--steps", "2"),
    "finetune": ("finetune", "alpha", "--steps", "2"),
    "evaluate": ("evaluate", "accuracy", "student"),
    "predict": ("predict", "student", "--data", "folder:images"),
}


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Plants cards that are counted, and on which every operation fails."""

    def plant_cards(error: Exception, cards: int = 1) -> None:
        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "Planted card")
        monkeypatch.setattr(devices, "_run_operation", fail)

    return plant_cards


@pytest.fixture
def messages() -> Iterator[StringIO]:
    """What is printed on stderr."""
    stream = StringIO()
    with console.use(console.Console(StringIO(), stream)):
        yield stream


@pytest.mark.parametrize("reason", [NO_KERNEL, OLD_DRIVER])
def test_unusable_card_is_refused_by_name(plant: Callable[..., None], reason: str) -> None:
    plant(RuntimeError(reason))
    with pytest.raises(UsageError) as caught:
        devices.choose("cuda:0", purpose="training")
    line = reason.splitlines()[0].rstrip(".")
    assert str(caught.value) == f"--device cuda:0: Planted card cannot be used: {line}; use --device cpu"


def test_auto_leaves_an_unusable_card_with_a_warning(plant: Callable[..., None], messages: StringIO) -> None:
    plant(RuntimeError(NO_KERNEL))
    assert devices.choose("auto", purpose="training") == torch.device("cpu")
    warning, chosen = messages.getvalue().splitlines()
    assert warning.endswith(
        "Planted card cannot be used: CUDA error: no kernel image is available for execution on the device; "
        "the CPU is used instead"
    )
    assert "training on CPU" in chosen


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tries_the_device(tmp_path: Path, plant: Callable[..., None], command: str) -> None:
    upto = "pseudo-label" if command == "distill" else "extract" if command == "gradients" else "split"
    workspace = make(tmp_path / "task", upto=upto)
    plant(RuntimeError(NO_KERNEL))
    arguments = [str(workspace / word) if word == "images" else word for word in COMMANDS[command]]
    arguments = [word.replace("folder:images", f"folder:{workspace}/images") for word in arguments]
    result = run(*arguments, "--device", "cuda", workspace=workspace)
    assert result.code == 2
    assert "Planted card cannot be used: CUDA error: no kernel image" in result.error


def test_full_card_fails_while_running(plant: Callable[..., None]) -> None:
    plant(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB."))
    with pytest.raises(ZooError, match=r"Tried to allocate 2\.00 MiB; free its memory") as caught:
        devices.choose("cuda", purpose="training")
    assert caught.value.code == 1


@pytest.mark.parametrize(
    ("cards", "line"), [(1, "there is one CUDA device here, cuda:0"), (2, "there are 2 CUDA devices here")]
)
def test_missing_index_is_refused_with_the_number(plant: Callable[..., None], cards: int, line: str) -> None:
    plant(RuntimeError(NO_KERNEL), cards)
    with pytest.raises(UsageError, match=f"--device cuda:{cards + 1}: {line}; use --device cpu"):
        devices.choose(f"cuda:{cards + 1}", purpose="training")


def test_driver_that_counts_no_card_is_named(monkeypatch: pytest.MonkeyPatch, messages: StringIO) -> None:
    def count() -> int:
        warnings.warn("CUDA initialization: driver/library version mismatch\nmore", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(torch.cuda, "device_count", count)
    with pytest.raises(UsageError, match="--device cuda: CUDA initialization: driver/library version mismatch; use"):
        devices.choose("cuda", purpose="training")
    assert devices.choose("auto", purpose="training") == torch.device("cpu")
    assert "driver/library version mismatch; the CPU is used instead" in messages.getvalue()


@pytest.mark.parametrize("name", ["mps", "mps:0"])
def test_mps_is_refused_with_what_is_missing(tmp_path: Path, name: str) -> None:
    workspace = make(tmp_path / "task", upto="split")
    result = run("extract", "--device", name, workspace=workspace)
    assert result.code == 2
    assert result.error == f"--device {name}: zoo computes in float64, which MPS lacks; use --device cpu"


def test_auto_never_takes_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert devices.choose("auto", purpose="training") == torch.device("cpu")
