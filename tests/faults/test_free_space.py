"""What will not fit on the disk is refused before the work; what fits never is."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from tests.workspaces import run
from zoo_cli import config
from zoo_cli.errors import UsageError
from zoo_cli.images import view_batches
from zoo_cli.store import feature_store, free_space, parquet_files, schemas
from zoo_cli.store.columns import to_list_column
from zoo_cli.training import runner

Make = Callable[..., Path]
TRAIN = ("--steps", "4", "--batch-size", "8", "--augment", "none", "--checkpoint-every", "2", "--name", "mine")


def disk(free: int, *, blocks: int = 10**9, inodes: int = 10**6, inodes_free: int = 10**6) -> Callable[..., object]:
    """In place of os.statvfs: a file system with so many bytes free."""
    status = SimpleNamespace(f_bavail=free, f_frsize=1, f_blocks=blocks, f_files=inodes, f_favail=inodes_free)
    return lambda _path: status


@pytest.mark.parametrize(
    ("upto", "command"),
    [
        ("split", ("extract",)),
        ("extract", ("extract", "--overwrite")),
        ("extract", ("extract", "--views", "2")),
        ("extract", ("extract", "--gradients", "--projection", "20")),
        ("pseudo-label", ("distill", *TRAIN)),
        ("pseudo-label", ("finetune", "alpha", *TRAIN)),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_full_disk_is_refused_before_the_work(
    workspace: Make, monkeypatch: pytest.MonkeyPatch, upto: str, command: tuple[str, ...]
) -> None:
    place = workspace(upto=upto)
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", disk(100))
        result = run(*command, workspace=place)
    assert result.code == 2, result.err
    assert "take at least 0.0 MB, only 0.0 MB are free in" in result.error
    assert "free some space" in result.error
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", disk(0, blocks=0))  # it does not tell
        assert run(*command, workspace=place).code == 0


def test_lack_of_inodes_is_named(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workspace(upto="split")
    with monkeypatch.context() as patch:
        patch.setattr(os, "statvfs", disk(10**9, inodes_free=2))
        assert "only 2 inodes are free in" in run("extract", workspace=place).error
        patch.setattr(os, "statvfs", disk(10**9, inodes=0, inodes_free=0))  # made as they are needed
        assert run("extract", workspace=place).code == 0


def test_nothing_is_decoded_on_a_full_disk(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workspace(upto="split")
    monkeypatch.setattr(os, "statvfs", disk(100))
    monkeypatch.setattr(view_batches, "view_batches", None)
    assert run("extract", workspace=place).code == 2


@pytest.mark.parametrize("command", [("distill",), ("finetune", "alpha")])
def test_no_image_is_decoded_to_train_on_a_full_disk(
    workspace: Make, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    place = workspace(upto="pseudo-label")
    monkeypatch.setattr(os, "statvfs", disk(100))
    monkeypatch.setattr(runner, "cache_images", None)
    assert run(*command, *TRAIN, workspace=place).code == 2


def test_dry_run_tells_the_bytes(workspace: Make) -> None:
    assert "at least 0.0 MB" in run("extract", "--dry-run", workspace=workspace(upto="split")).err
    result = run("extract", "--views", "2", "--dry-run", workspace=workspace(upto="extract"))
    assert "at least 0.0 MB" in result.err


def test_estimate_is_a_lower_bound_near_the_size(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    dense = random.normal(size=(2000, 300)).astype(np.float32)
    sparse = np.maximum(dense - 1.0, 0)
    for values, share, near in ((dense, free_space.DENSE_SHARE, 0.6), (sparse, free_space.SPARSE_SHARE, 0.2)):
        table = pa.table({"id": [f"{row:05}" for row in range(2000)], "embedding": to_list_column(values)})
        parquet_files.write_table(tmp_path / "part.parquet", table, schemas.FEATURES, {})
        size, estimate = (tmp_path / "part.parquet").stat().st_size, values.size * 4 * share
        assert near * size <= estimate <= size


def test_stored_outputs_tell_the_size_of_new_ones(workspace: Make) -> None:
    place = workspace(upto="extract")
    settings = config.load(place)
    part = next((place / "features/source=alpha").rglob("part-*.parquet"))
    assert feature_store.stored_bytes(settings, settings.sources[0]) == part.stat().st_size / 36


def test_missing_folder_is_judged_by_the_one_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free_space.check_space(tmp_path / "none" / "there", 1, 1, "these")
    monkeypatch.setattr(os, "statvfs", disk(999))
    with pytest.raises(UsageError, match="these take at least"):
        free_space.check_space(tmp_path / "none" / "there", 1000, 1, "these")
