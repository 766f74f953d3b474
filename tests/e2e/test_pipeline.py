"""The batch script on real images and pretrained networks, in a small size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests import warm_program

from ..shared_material import SHARED

pytestmark = pytest.mark.skipif(SHARED is None, reason="needs the development material")
NETWORKS = ("cifar10_resnet20", "cifar10_mlperf_resnet8", "mnist_lenet5", "miniimagenet_conv4_encoder")


def test_pipeline_on_real_images_ends_in_flips(tmp_path: Path) -> None:
    with warm_program.written(tmp_path / "bin") as programs:
        check_pipeline(tmp_path, programs, student="cifar10_resnet20", train=100, test=30, steps=2)


@pytest.mark.slow
def test_larger_pipeline_in_processes_of_their_own(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "zoo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m zoo_cli "$@"\n')
    program.chmod(0o755)
    check_pipeline(tmp_path, program.parent, student="cifar10_resnet20", train=200, test=60, steps=12)


def check_pipeline(tmp_path: Path, programs: Path, *, student: str, train: int, test: int, steps: int) -> None:
    """Run the script with the `zoo` of a folder on this many images, and check what it writes."""
    assert SHARED is not None
    for part, rows in (("train", train), ("test", test)):
        images = pq.read_table(SHARED / "data" / f"flowers5-{part}.parquet")
        pq.write_table(images.slice(0, rows), tmp_path / f"flowers5-{part}.parquet")
    result = subprocess.run(
        [
            "bash",
            str(Path(__file__).with_name("pipeline.sh")),
            str(tmp_path / "flowers5-train.parquet"),
            str(tmp_path / "flowers5-test.parquet"),
            str(SHARED / "weights"),
            str(tmp_path / "work"),
            *NETWORKS,
        ],
        env={
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "STUDENT": student,
            "LABELLED": "20%",
            "STEPS": str(steps),
            "BATCH": "16",
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stderr
    ranking = pq.read_table(tmp_path / "work" / "ranking.parquet").to_pylist()
    assert {row["source"] for row in ranking} == set(NETWORKS)
    assert ranking[-1]["source"] == "mnist_lenet5", "black and white digits are least similar to flowers"
    assert sum(row["weight"] for row in ranking) == pytest.approx(1)
    runs = {path.parent.name for path in (tmp_path / "work" / "runs").glob("*/predictions.parquet")}
    assert runs == {"labels-only-s0", *(f"cross-task-parc-{w}-s0" for w in ("equal", "nearest", "p12"))}
    flips = json.loads((tmp_path / "work" / "flips-s0.json").read_text())["data"]
    assert flips["n"] == test
    assert flips["delta"] == pytest.approx(flips["accuracy_after"] - flips["accuracy_before"])
    assert "has no head and cannot teach" in result.stderr
