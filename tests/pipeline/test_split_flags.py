"""A manifest that was split with flags wins over zoo.toml, with one warning per command."""

from pathlib import Path

from tests.workspaces import edit, make, run


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
