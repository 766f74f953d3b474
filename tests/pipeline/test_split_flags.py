"""A manifest that was split with flags wins over zoo.toml, with one warning per command."""

from pathlib import Path

import pytest

from tests.workspaces import edit, make, run

Flags = tuple[str, ...]


def test_flags_of_a_split_win_over_zoo_toml(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    assert run("split", "--labelled", "8", "--overwrite", workspace=place).code == 0
    before = (place / "manifest.parquet").read_bytes()
    for command in (("extract",), ("rank",), ("distill", "--steps", "1", "--batch-size", "4", "--lam", "1")):
        result = run(*command, workspace=place)
        assert result.code == 0, result.err
        assert result.err.count("was split with labelled 8, given by flags: that is used, not zoo.toml") == 1
    assert (place / "manifest.parquet").read_bytes() == before


def test_other_change_of_zoo_toml_is_stale(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    assert run("split", "--labelled", "8", "--overwrite", workspace=place).code == 0
    edit(place, 'labelled = "50%"', 'labelled = "50%"\nseed = 1')
    result = run("rank", workspace=place)
    assert result.code == 2
    assert "manifest.parquet was made from other inputs: seed (0 there, 1 requested)" in result.error


def test_flags_equal_to_zoo_toml_leave_no_trace(tmp_path: Path) -> None:
    place, other = make(tmp_path / "task", upto="split"), make(tmp_path / "other")
    assert run("split", "--labelled", "50%", "--seed", "0", workspace=other).code == 0
    assert (place / "manifest.parquet").read_bytes() == (other / "manifest.parquet").read_bytes()


def test_split_compares_the_manifest_with_zoo_toml(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    assert run("split", "--labelled", "8", "--overwrite", workspace=place).code == 0
    assert run("split", "--labelled", "8", workspace=place).code == 0
    assert "labelled (8 there, 50% requested)" in run("split", workspace=place).error


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        (("--test", "40%"), "test 40%"),
        (("--test", "folder:images"), "test folder:images"),
        (("--probe", "4"), "probe 4"),
    ],
    ids=["share", "folder", "probe"],
)
def test_every_flag_of_a_split_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: Flags, shown: str) -> None:
    place = make(tmp_path / "task", upto="split")
    monkeypatch.chdir(place)
    assert run("split", *flags, "--overwrite").code == 0
    result = run("rank")
    assert result.code == 0, result.err
    assert f"was split with {shown}, given by flags" in result.err


def test_refresh_keeps_the_flags_of_a_split(tmp_path: Path) -> None:
    place, fresh = make(tmp_path / "task", upto="rank"), make(tmp_path / "fresh", seed=1)
    flags = ("--labelled", "8", "--test", "40%")
    assert run("split", *flags, "--overwrite", workspace=place).code == 0
    edit(place, 'labelled = "50%"', 'labelled = "50%"\nseed = 1')
    assert run("rank", workspace=place).code == 2
    assert run("rank", "--refresh", workspace=place).code == 0
    assert run("split", *flags, workspace=fresh).code == 0
    assert (place / "manifest.parquet").read_bytes() == (fresh / "manifest.parquet").read_bytes()
    assert "labelled 8" in run("rank", workspace=place).err


def test_a_typed_flag_is_not_overruled_by_one_of_the_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = make(tmp_path / "task")
    monkeypatch.chdir(place)
    assert run("split", "--train", "csv:samples.csv").code == 0
    assert run("extract").code == 0
    result = run("extract", "--train", "folder:images/red")
    assert result.code == 2
    assert "manifest.parquet was made from other inputs: train" in result.error
