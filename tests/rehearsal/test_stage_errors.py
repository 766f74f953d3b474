"""A card that runs out of memory or is lost under extract, gradients, evaluate and predict.

Forward passes become smaller and networks take turns; what does not fit at all, or a lost card, is one line and exit 1.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from zoo_cli.images import sample_batches, view_batches
from zoo_cli.pipeline import view_extraction
from zoo_cli.store import feature_store, parquet_files

from ..pipeline.test_bytes import contents
from ..pipeline.transfer_workspace import make
from ..workspaces import edit
from .planted_faults import (
    LINES,
    ON_CARD,
    Fault,
    Phase,
    Raise,
    allocation_in_cudnn,
    lost_card,
    no_kernel,
    out_of_memory,
)
from .pretended_card import pretend_card
from .test_commands import read_numbers, run_command

EXTRACT = ("extract", "--overwrite")
SOURCE: Phase = ("models/extraction.py", "__call__")
NETWORK: Phase = ("training/inference.py", "predict_batch")
LOADING: Phase = ("models/forward_passes.py", "_load")
STAGES: dict[str, tuple[tuple[str, ...], Phase]] = {
    "extract": (EXTRACT, SOURCE),
    "views": (("extract", "--views", "2"), SOURCE),
    "gradients": (("extract", "--gradients"), ("models/gradients.py", "__call__")),
    "accuracy": (("evaluate", "accuracy", "expert"), NETWORK),
    "flips": (("evaluate", "flips", "expert", "mirror"), NETWORK),
    "predict": (("predict", "expert", "--data", "folder:images", "--out", "predicted.parquet"), NETWORK),
}
"""Commands of forward passes, and the function that makes one."""
EACH = [pytest.param(name, marks=[] if name == "extract" else pytest.mark.slow) for name in STAGES]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("original") / "task")


@pytest.fixture
def workspace(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "task"))


@pytest.fixture(scope="module")
def finished(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The workspace after an unbroken stage on a card."""
    places: dict[str, Path] = {}

    def run_once(name: str) -> Path:
        if name not in places:
            places[name] = Path(shutil.copytree(original, tmp_path_factory.mktemp("finished") / "task"))
            with pretend_card():
                assert run_command(*STAGES[name][0], *ON_CARD, workspace=places[name]).code == 0
        return places[name]

    return run_once


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The images that were decoded."""
    items: list[object] = []
    for module, name in (
        (view_batches, "load_views"),
        (sample_batches, "load_views"),
        (view_extraction, "load_augmented_views"),
    ):
        load = getattr(module, name)

        def count(*arguments: object, load: Callable[..., Iterator[tuple[int, object]]] = load) -> Iterator[object]:
            for item in load(*arguments):
                items.append(item[0])
                yield item

        monkeypatch.setattr(module, name, count)
    return items


def artifacts(workspace: Path) -> dict[str, object]:
    """A digest of every file; of predictions their rows, since they record where the images are."""
    file = workspace / "predicted.parquet"
    rows = {file.name: pq.read_table(file).to_pylist()} if file.exists() else {}
    return {**contents(workspace), **rows}


def assert_numbers_close(workspace: Path, expected: dict[tuple[str, str], np.ndarray]) -> None:
    numbers = read_numbers(workspace)
    assert numbers.keys() == expected.keys()
    for key, values in numbers.items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-5, atol=1e-5, err_msg=str(key))


@pytest.mark.parametrize("phase", ["pass", pytest.param("loading", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EACH)
def test_lost_card_ends_a_stage_that_goes_on(
    workspace: Path, finished: Callable[[str], Path], name: str, phase: str
) -> None:
    command, forward = STAGES[name]
    with pretend_card() as card:
        fault = Fault(card, lost_card, LOADING if phase == "loading" else forward, at=3)
        result = run_command(*command, *ON_CARD, workspace=workspace)
    assert fault.raised
    assert result.code == 1
    assert LINES["lost"] in result.error
    assert not (workspace / "predicted.parquet").exists()
    with pretend_card():
        assert run_command(*command, *ON_CARD, workspace=workspace).code == 0
    assert artifacts(workspace) == artifacts(finished(name))


@pytest.mark.parametrize("error", [allocation_in_cudnn, pytest.param(out_of_memory, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", EACH)
def test_pass_that_runs_out_is_halved(
    workspace: Path, finished: Callable[[str], Path], decoded: list[object], name: str, error: Raise
) -> None:
    command, forward = STAGES[name]
    expected = finished(name)
    images = len(decoded)
    if not images:  # the unbroken stage ran for another test
        other = Path(shutil.copytree(workspace, workspace.with_name("other")))
        with pretend_card():
            assert run_command(*command, *ON_CARD, workspace=other).code == 0
        images = len(decoded)
    decoded.clear()
    with pretend_card() as card:
        fault = Fault(card, error, forward)
        result = run_command(*command, *ON_CARD, workspace=workspace)
    assert fault.raised == 1
    assert result.code == 0, result.err
    assert result.err.count("continues with batches of") == 1
    assert len(decoded) == images
    assert_numbers_close(workspace, read_numbers(expected))


@pytest.mark.parametrize("name", EACH)
def test_card_too_small_for_one_image_is_one_line(workspace: Path, name: str) -> None:
    command, forward = STAGES[name]
    with pretend_card() as card:
        Fault(card, out_of_memory, forward, lasts=True)
        result = run_command(*command, *ON_CARD, workspace=workspace)
    assert result.code == 1
    assert "runs out of GPU memory on a single image; use --device cpu" in result.error


def test_network_too_large_for_the_card_is_one_line(workspace: Path) -> None:
    with pretend_card(free=400):
        result = run_command(*EXTRACT, *ON_CARD, workspace=workspace)
    assert result.code == 1
    assert "does not fit in GPU memory; use --device cpu" in result.error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["extract", "predict"])
def test_batch_size_of_the_user_is_kept(workspace: Path, name: str) -> None:
    command, forward = STAGES[name]
    with pretend_card() as card:
        Fault(card, out_of_memory, forward, lasts=True)
        result = run_command(*command, *ON_CARD, "--batch-size", "8", workspace=workspace)
    assert result.code == 1
    assert "runs out of GPU memory with --batch-size 8; lower it, or leave it out" in result.error


def test_lost_card_keeps_finished_parts(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 8)
    shutil.rmtree(workspace / "features")
    with pretend_card() as card:
        whole = Fault(card, lost_card, SOURCE, at=0)
        assert run_command("extract", *ON_CARD, workspace=workspace).code == 0
    shutil.rmtree(workspace / "features")
    with pretend_card() as card:
        Fault(card, lost_card, SOURCE, at=whole.launches * 2 // 3)
        assert run_command("extract", *ON_CARD, workspace=workspace).code == 1
    kept = modified(workspace)
    assert kept
    with pretend_card():
        assert run_command("extract", *ON_CARD, workspace=workspace).code == 0
    assert kept.items() < modified(workspace).items()


def modified(workspace: Path) -> dict[Path, int]:
    """When each part of the features was written."""
    return {path: path.stat().st_mtime_ns for path in (workspace / "features").rglob("part-*.parquet")}


@pytest.mark.parametrize(
    "flags", [("--batch-size", "64"), pytest.param((), marks=pytest.mark.slow)], ids=["64", "auto"]
)
def test_sources_that_do_not_fit_together_take_turns(
    workspace: Path, decoded: list[object], flags: tuple[str, ...]
) -> None:
    command = (*EXTRACT, *ON_CARD, *flags, "--source", "alpha", "--source", "beta", "--source", "gamma")
    edit(workspace, "width = 7", "width = 60")  # gamma needs the most, and finds two others on the card
    with pretend_card() as card:
        assert run_command(*EXTRACT, *ON_CARD, "--source", "gamma", workspace=workspace).code == 0
        constants = 24 * 3  # mean and deviation of three colours, of each source
        room = card.peak[0] + constants
        assert run_command(*command, workspace=workspace).code == 0
        assert room < card.peak[0]
    expected = read_numbers(workspace)
    decoded.clear()
    with pretend_card(free=room) as card:
        result = run_command(*command, workspace=workspace)
        assert card.peak[0] <= room
    assert result.code == 0, result.err
    assert ("take turns" if flags else "gamma continues with batches of 18") in result.err
    assert len(decoded) == 36
    assert_numbers_close(workspace, expected)


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_card_without_kernels_is_noticed_before_any_work(workspace: Path, name: str) -> None:
    """Named it is refused, and auto leaves it."""
    before = contents(workspace)
    with pretend_card() as card:
        Fault(card, no_kernel, lasts=True)
        result = run_command(*EXTRACT, "--device", name, workspace=workspace)
    reason = "Pretended card cannot be used: CUDA error: no kernel image is available for execution on the device"
    if name == "cuda":
        assert result.code == 2
        assert result.error == f"--device cuda: {reason}; use --device cpu"
        assert contents(workspace) == before
    else:
        assert result.code == 0
        assert f"zoo: warning: {reason}; the CPU is used instead" in result.err.splitlines()


def test_card_is_recorded_beside_what_it_computed(workspace: Path, finished: Callable[[str], Path]) -> None:
    on_card = next(finished("gradients").rglob("gradients/**/part-*.parquet"))
    assert parquet_files.read_header(on_card)["card"]["name"] == "Pretended card"
    parts = list(workspace.rglob("part-*.parquet"))
    assert parts
    assert all("card" not in parquet_files.read_header(path) for path in parts)
    assert pq.read_table(on_card).num_rows
    with pretend_card():
        result = run_command("extract", *ON_CARD, workspace=workspace)
    assert result.code == 0
    assert "is up to date" in result.err
