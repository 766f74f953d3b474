"""Inputs of the development material that zoo split once read wrongly, each made by its own script."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.shared_material import SHARED
from tests.workspaces import Result, run

pytestmark = pytest.mark.skipif(
    SHARED is None or not (SHARED / "cases").is_dir(), reason="the development material is absent"
)


def make_case(name: str, folder: Path) -> Path:
    assert SHARED is not None
    script = SHARED / "cases" / name / "make.py"
    subprocess.run([sys.executable, script, folder], check=True, env={**os.environ, "ZOO_SHARED": str(SHARED)})
    return folder


def split(workspace: Path, *flags: str) -> Result:
    return run("split", *flags, workspace=workspace)


def count_rows(workspace: Path) -> int:
    return int(pq.read_metadata(workspace / "manifest.parquet").num_rows)


def test_unknown_endings(tmp_path: Path) -> None:
    place = make_case("01-dropped-extensions", tmp_path)
    assert split(place).code == 0
    assert count_rows(place) == 20


def test_splits_and_one_more_folder(tmp_path: Path) -> None:
    result = split(make_case("02-splits-and-one-more-folder", tmp_path))
    assert result.code == 2
    assert "folder:d/train" in result.error


def test_images_behind_links(tmp_path: Path) -> None:
    place = make_case("05-images-behind-links", tmp_path)
    result = split(place)
    assert result.code == 3
    assert "--follow-links" in result.error
    assert split(place, "--follow-links").code == 0
    assert count_rows(place) == 16


def test_brackets_in_a_path(tmp_path: Path) -> None:
    place = make_case("06-brackets-in-a-path", tmp_path)
    for workspace in (place, place / "run [1]"):
        assert split(workspace).code == 0
        assert count_rows(workspace) == 20


def test_two_label_columns(tmp_path: Path) -> None:
    place = make_case("07-two-label-columns", tmp_path)
    result = split(place)
    assert result.code == 2
    assert "fine_label" in result.error
    assert "coarse_label" in result.error
    assert split(place, "--train", f"parquet:{place}/a.parquet?label=coarse_label").code == 0
