"""Typed paths: what exists is literal, only the rest is a pattern."""

import os
from pathlib import Path

import pytest

from zoo_cli.store.path_patterns import match_paths


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
