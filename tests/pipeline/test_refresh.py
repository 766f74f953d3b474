"""--refresh beside --overwrite and --dry-run, and of what is damaged or was written by earlier versions."""

import json
import shutil
from pathlib import Path

import pytest

from tests.pipeline.test_bytes import contents
from tests.workspaces import edit, make, run
from zoo_cli import config
from zoo_cli.pipeline import part_maker
from zoo_cli.store import feature_store, gradient_store

GRADIENTS = ("extract", "--gradients", "--projection", "20")


def other_views(workspace: Path) -> None:
    text = (workspace / "zoo.toml").read_text(encoding="utf-8")
    (workspace / "zoo.toml").write_text(text.replace("input_size = 12", "input_size = 10"), encoding="utf-8")


def ok(*arguments: str, workspace: Path) -> str:
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err
    return result.err


def test_a_dry_run_refreshes_nothing(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    other_views(place)
    before = contents(place)
    assert run("extract", "--dry-run", workspace=place).code == 2
    assert "would check the images of folder:images" in ok("extract", "--refresh", "--dry-run", workspace=place)
    ok("split", "--overwrite", workspace=place)
    split = contents(place)
    assert "would extract 144 outputs from 4 sources" in ok("extract", "--refresh", "--dry-run", workspace=place)
    assert contents(place) == split
    assert {name for name in before if before[name] != split[name]} == {"manifest.parquet"}


@pytest.mark.parametrize("flags", [("--refresh",), ("--refresh", "--overwrite")], ids=" ".join)
def test_missing_and_stale_sources_are_run_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    place, fresh = make(tmp_path / "task", upto="split"), make(tmp_path / "fresh", upto="split")
    ok("extract", "--source", "alpha", workspace=place)
    for workspace in (place, fresh):
        other_views(workspace)
    passes: list[object] = []
    batches = part_maker.view_batches
    monkeypatch.setattr(part_maker, "view_batches", lambda *given: passes.append(1) or batches(*given))
    ok("extract", *flags, workspace=place)
    assert len(passes) == 1
    ok("extract", workspace=fresh)
    assert contents(place) == contents(fresh)


def test_explaining_a_source_refreshes_its_features(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="rank")
    other_views(place)
    assert run("rank", "--explain", "alpha", workspace=place).code == 2
    ok("rank", "--explain", "alpha", "--refresh", workspace=place)


def test_a_wrong_device_is_reported_with_nothing_to_run(tmp_path: Path) -> None:
    result = run("extract", "--device", "abacus", workspace=make(tmp_path / "task", upto="extract"))
    assert result.code == 2
    assert 'no device "abacus"' in result.error


@pytest.mark.parametrize("text", ["[1]", "{}", "null", '{"features": "8", "classes": 4}'])
def test_a_damaged_source_record_is_made_again(tmp_path: Path, text: str) -> None:
    place = make(tmp_path / "task", upto="rank")
    before = contents(place)
    (place / "features/source=alpha/_source.json").write_text(text, encoding="utf-8")
    for command in ("extract", "rank", "sources", "pseudo-label"):
        result = run(command, workspace=place)
        assert result.code == 3
        assert result.error.endswith("zoo extract --source alpha --overwrite makes it again")
    ok("extract", "--source", "alpha", "--overwrite", workspace=place)
    ok("rank", workspace=place)
    assert contents(place) == before


@pytest.mark.parametrize("text", ["[1]", "{}", '{"inputs": 3}'])
def test_a_damaged_ensemble_is_made_again(tmp_path: Path, text: str) -> None:
    place = make(tmp_path / "task", upto="extract")
    ok("score", "--metric", "ms-leep", workspace=place)
    before = contents(place)
    (place / "scores/ms-leep.json").write_text(text, encoding="utf-8")
    assert run("score", "--metric", "ms-leep", workspace=place).code == 2
    ok("score", "--metric", "ms-leep", "--overwrite", workspace=place)
    assert contents(place) == before
    content = json.loads((place / "scores/ms-leep.json").read_text(encoding="utf-8"))
    (place / "scores/ms-leep.json").write_text(json.dumps({"inputs": content["inputs"]}), encoding="utf-8")
    assert run("score", "--metric", "ms-leep", workspace=place).code == 3


def test_a_damaged_record_of_gradients_is_made_again(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    ok(*GRADIENTS, workspace=place)
    before = contents(place)
    (place / "gradients/source=alpha/_gradients.json").write_text("{}", encoding="utf-8")
    result = run(*GRADIENTS, workspace=place)
    assert result.code == 3
    assert result.error.endswith("zoo extract --gradients --source alpha --overwrite makes it again")
    ok(*GRADIENTS, "--source", "alpha", "--overwrite", workspace=place)
    assert contents(place) == before


def test_gradients_under_their_old_name_are_read_and_renamed(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    ok(*GRADIENTS, workspace=place)
    before = contents(place)
    folder = place / "gradients/source=alpha"
    (folder / gradient_store.DOCUMENT).rename(folder / gradient_store.OLD_DOCUMENT)
    ok("score", "--metric", "lgc", workspace=place)
    next(folder.glob("part-*")).unlink()
    ok(*GRADIENTS, workspace=place)
    assert {name: digest for name, digest in contents(place).items() if not name.startswith("scores/")} == before


def test_gradients_of_a_process_that_begins_later_stay(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    ok(*GRADIENTS, workspace=place)
    settings, parts = config.load(place), sorted((place / "gradients/source=alpha").glob("part-*"))
    record = gradient_store.load_gradient_record(settings, "alpha")
    assert record is not None
    (place / "gradients/source=alpha/_gradients.json").unlink()
    gradient_store.open_gradients(settings, "alpha", record)
    assert [part for part in parts if part.exists()] == parts


def test_refresh_keeps_what_another_process_has_just_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 16)
    place = make(tmp_path / "task", upto="split")
    ok("extract", "--source", "alpha", workspace=place)
    parts = sorted((place / "features/source=alpha/data=train").iterdir())
    assert len(parts) == 3
    other_views(place)
    ok("extract", "--source", "alpha", "--refresh", workspace=place)
    fresh = [part.read_bytes() for part in parts]
    parts[0].unlink()
    parts[1].write_bytes(parts[1].read_bytes()[:100])
    stood = parts[2].stat().st_mtime_ns
    ok("extract", "--source", "alpha", "--refresh", workspace=place)
    assert [part.read_bytes() for part in parts] == fresh
    assert parts[2].stat().st_mtime_ns == stood


def test_a_stale_part_behind_a_missing_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 16)
    place = make(tmp_path / "task", upto="split")
    ok("extract", "--source", "alpha", workspace=place)
    parts = sorted((place / "features/source=alpha/data=train").iterdir())
    parts[0].unlink()
    shutil.copy(parts[2], parts[1])
    assert run("extract", "--source", "alpha", workspace=place).code == 2
    ok("extract", "--source", "alpha", "--refresh", workspace=place)
    ok("rank", "--source", "alpha", workspace=place)
