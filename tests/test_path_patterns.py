"""Typed paths: what exists is literal, only the rest is a pattern."""

import os
from pathlib import Path

import pytest

from zoo_cli.errors import UsageError
from zoo_cli.store.path_patterns import expand_braces, match_paths


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("set[v2]/*.parquet", ["set[v2]/a.parquet", "set[v2]/b.parquet"]),
        ("set[v2]/a.parquet", ["set[v2]/a.parquet"]),
        ("set[v2]/[ab].parquet", ["set[v2]/a.parquet", "set[v2]/b.parquet"]),
        ("*/[x]/?.parquet", ["setv/[x]/c.parquet"]),
        ("what?", ["what?"]),
        ("se*/*.parquet", ["set[v2]/a.parquet", "set[v2]/b.parquet", "setv/d.parquet"]),
        ("**/c.parquet", ["setv/[x]/c.parquet"]),
        ("**/d.parquet", ["setv/d.parquet"]),
        ("set[v2]", ["set[v2]"]),
        ("gone/*.parquet", []),
        ("[z]*", []),
    ],
)
def test_only_what_does_not_exist_is_a_pattern(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    root = tmp_path / "run [1]"
    touch(root, "set[v2]/a.parquet", "set[v2]/b.parquet", "setv/[x]/c.parquet", "setv/d.parquet", "what?", "whatever")
    assert match_paths(root / pattern) == [root / name for name in expected]


def test_relative_and_upward_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "w[1]/x/a.parquet", "b.parquet")
    monkeypatch.chdir(tmp_path / "w[1]")
    assert match_paths(Path("x/*.parquet")) == [Path("x/a.parquet")]
    assert match_paths(Path("../*.parquet")) == [Path("../b.parquet")]
    assert match_paths(Path(os.path.abspath("x"))) == [tmp_path / "w[1]/x"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("s-{008..010}.tar", ["s-008.tar", "s-009.tar", "s-010.tar"]),
        ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
        ("{a,b}/{0..4..2}", ["a/0", "a/2", "a/4", "b/0", "b/2", "b/4"]),
        ("{a,b{1..2}}{,.gz}", ["a", "a.gz", "b1", "b1.gz", "b2", "b2.gz"]),
        ("{2..1}", ["2", "1"]),
        ("{v2}-{a..b}", ["{v2}-{a..b}"]),
        ("{x,y}/{z,w}", ["{x,y}/z", "{x,y}/w"]),  # the folder exists
    ],
)
def test_braces_stand_for_several_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    (tmp_path / "{x,y}").mkdir()
    assert expand_braces(tmp_path / pattern) == [tmp_path / name for name in expected]


@pytest.mark.parametrize("pattern", ["{0..999999999}", "{0..999}/{0..999}", "{0..999}{0..999}"])
def test_too_many_braces_are_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(UsageError, match="more than 100,000 files"):
        expand_braces(tmp_path / pattern)
