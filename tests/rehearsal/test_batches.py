"""Batches on the pretended card: no step waits for them, wherever images are kept, and a full card is made room on."""

import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.marks import slow
from tests.pipeline.test_objectives_resume import COMMANDS
from tests.pipeline.transfer_workspace import model, ok
from tests.workspaces import Result, run
from zoo_cli.images import augmentation
from zoo_cli.images.pixel_cache import PixelCache
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training import runner
from zoo_cli.training.batches_ahead import BatchesAhead
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.loop import Trainer

from .pretended_card import Card, nearest_line, pretend_card

LENGTH = ("--steps", "4", "--batch-size", "8", "--workers", "0", "--name", "mine")
EACH = ("cross-task", "heads", "supervised", "fixmatch", "xe-kl", "mcl:reset", "dp", "stored")
"""One command for each objective, of kl and xe-kl one, and stored logits."""
CONSTANTS = {"_channel_constant": 2, "_pixel_centres": 1, "constant_tensor": 8}
"""Functions that copy a constant to the card once in a process, and how many there are in a command."""


@pytest.fixture(autouse=True)
def no_runs(workspace: Path) -> None:
    shutil.rmtree(workspace / "runs", ignore_errors=True)


def count_waits_in_steps(card: Card, monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """The waits, by (what, line), of threads that are making a batch or taking a step; a constant may wait once."""
    waits: Counter[tuple[str, str]] = Counter()
    copied: Counter[str] = Counter()
    state = threading.local()

    def count_wait(what: str) -> None:
        card.streams.synchronize()
        line = nearest_line()
        if getattr(state, "inside", False):
            constant = line.rpartition(" ")[2]
            copied[constant] += 1
            if copied[constant] > CONSTANTS.get(constant, 0):
                waits[what, line] += 1

    def watch(owner: type, name: str) -> None:
        method = getattr(owner, name)

        def watched(*arguments: object) -> object:
            before, state.inside = getattr(state, "inside", False), True
            try:
                return method(*arguments)
            finally:
                state.inside = before

        monkeypatch.setattr(owner, name, watched)

    monkeypatch.setattr(card, "count_wait", count_wait)
    watch(Trainer, "step")
    watch(BatchesAhead, "batch")
    watch(BatchesAhead, "_make")
    return waits


def run_on_card(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, *command: str, free: int = 2**30
) -> tuple[Result, Counter[tuple[str, str]]]:
    """The result of a command on a card, and the waits in its steps."""
    with pretend_card(free=free) as card, monkeypatch.context() as patch:
        waits = count_waits_in_steps(card, patch)
        result = ok(*command, *LENGTH, "--device", "cuda", workspace=workspace)
    return result, waits


def distance(first: Path, second: Path) -> float:
    """The largest difference between the weights of two runs."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (first, second))
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in theirs)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in EACH else pytest.mark.slow) for name in COMMANDS]
)
def test_no_objective_waits_in_a_step(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert run_on_card(workspace, monkeypatch, *COMMANDS[name])[1] == {}


@pytest.mark.parametrize(
    ("augment", "place"),
    [
        *(pytest.param(kind, "gpu", marks=() if kind == "rand" else pytest.mark.slow) for kind in augmentation.KINDS),
        ("rand", "memory"),
        ("rand", "stream"),
    ],
)
def test_no_augmentation_waits_wherever_images_are(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, augment: str, place: str
) -> None:
    command = (*COMMANDS["fixmatch"], "--augment", augment)
    assert run_on_card(workspace, monkeypatch, *command, "--images", place)[1] == {}
    mine = (workspace / "runs/mine").rename(workspace / "runs/card")
    ok(*command, *LENGTH, workspace=workspace)
    assert distance(mine, workspace / "runs/mine") < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("augment", augmentation.KINDS)
@pytest.mark.parametrize("name", COMMANDS)
def test_no_objective_waits_with_any_augmentation(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str, augment: str
) -> None:
    if name == "stored" and augment not in ("none", "flip"):
        pytest.skip("stored logits are of these views only")
    assert run_on_card(workspace, monkeypatch, *COMMANDS[name], "--augment", augment)[1] == {}


def test_no_stored_view_waits(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*COMMANDS["cross-task"], "--views", "2")
    ok(*command, *LENGTH, workspace=workspace)
    reference = (workspace / "runs/mine").rename(workspace / "runs/cpu")
    assert run_on_card(workspace, monkeypatch, *command)[1] == {}
    assert distance(workspace / "runs/mine", reference) < 1e-5


BATCH = "a batch"


class Full:
    """Raises out of memory in step 3, at the first launch of an operation, or where its batch is made."""

    def __init__(self, card: Card, monkeypatch: pytest.MonkeyPatch, operation: str, times: int = 1):
        self.times = times
        self.step = 0
        step, make_batch = Trainer.step, BatchesAhead._make

        def count(run: Trainer, number: int, batch: Batch) -> None:
            # The measurement of memory and the timed steps have a learning rate of 0.
            self.step = number + 1 if run.options.lr else 0
            step(run, number, batch)

        def fail(launched: str, _line: str = "") -> None:
            if self.step and self.times and operation in launched:
                self.times -= 1
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 bytes.")

        def make_or_fail(ahead: BatchesAhead, step: int) -> object:
            if step + 1 == 3:
                fail(BATCH)
            return make_batch(ahead, step)

        monkeypatch.setattr(Trainer, "step", count)
        monkeypatch.setattr(BatchesAhead, "_make", make_or_fail)
        card.before_launch = lambda launched, _line: fail(launched) if self.step == 3 else None


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("supervised", "native_batch_norm."),
        pytest.param("supervised", "convolution_backward", marks=pytest.mark.slow),
        ("mcl:reset", "convolution_backward"),
        ("stored", BATCH),
    ],
)
def test_full_card_moves_images_and_keeps_the_bits(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str, operation: str
) -> None:
    """Batch norm and dropout come before the backward pass: a step taken again must not count them twice."""
    command = (*COMMANDS[name], *LENGTH, "--device", "cuda")
    with pretend_card():
        ok(*command, workspace=workspace)
    whole = model((workspace / "runs/mine").rename(workspace / "runs/whole"))
    with pretend_card() as card, monkeypatch.context() as patch:
        full = Full(card, patch, operation)
        result = ok(*command, workspace=workspace)
    assert full.times == 0
    assert result.err.count("out of GPU memory: the images and targets kept there move to RAM") == 1
    assert model(workspace / "runs/mine") == whole


@pytest.mark.parametrize("flags", [(), ("--images", "memory")])
def test_card_that_stays_full_ends_the_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    with pretend_card() as card, monkeypatch.context() as patch:
        Full(card, patch, "convolution_backward", times=9)
        result = run(*COMMANDS["supervised"], *LENGTH, "--device", "cuda", *flags, workspace=workspace)
    assert result.code == 1
    assert "lower --batch-size, or use --images memory" in result.error
    assert result.err.count("move to RAM") == (not flags)


@pytest.mark.parametrize("name", ["fixmatch", *slow("supervised", "dp")])
def test_training_needs_no_more_than_was_measured(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    reserved: list[int] = []
    reserve = ImageCache.reserve

    def note_size(cache: ImageCache, size: int) -> None:
        reserved.append(size)
        torch.cuda.reset_peak_memory_stats()
        reserve(cache, size)

    monkeypatch.setattr(ImageCache, "reserve", note_size)
    with pretend_card() as card:
        before = card.allocated[0]
        ok(*COMMANDS[name], *LENGTH, "--device", "cuda", workspace=workspace)
    images = 36 * 3 * 12 * 12
    assert card.peak[0] - before - images < reserved[0] < 3 * (card.peak[0] - before)


def test_auto_puts_images_beside_what_training_needs(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (*COMMANDS["supervised"], *LENGTH, "--device", "cuda", "--overwrite")
    places: list[str] = []
    fill = PixelCache._fill

    def note_place(cache: PixelCache, *arguments: Any) -> None:
        places.append(cache.place)
        fill(cache, *arguments)

    monkeypatch.setattr(PixelCache, "_fill", note_place)
    for needed in (2**30 - 100_000, 2**30 - 1000):
        monkeypatch.setattr(runner, "measure_training_memory", lambda *_, size=needed, **__: size)
        with pretend_card(free=2**30):
            result = ok(*command, workspace=workspace)
    assert places == ["gpu", "memory"]
    assert "are kept in RAM: they do not fit on the GPU beside what training needs" in result.err


def test_images_that_do_not_fit_are_refused(workspace: Path) -> None:
    with pretend_card(free=1000):
        result = run(*COMMANDS["supervised"], *LENGTH, "--device", "cuda", "--images", "gpu", workspace=workspace)
    assert result.code == 2
    assert "--images gpu: they take" in result.error
