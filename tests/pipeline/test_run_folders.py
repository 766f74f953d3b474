"""Run folders: their students work elsewhere, and a student with non-finite weights has none."""

import shutil
from pathlib import Path

from ..workspaces import make, run

SHORT = ("--steps", "2", "--batch-size", "8", "--quiet")


def test_student_of_user_code_works_from_another_workspace(tmp_path: Path) -> None:
    here, there = make(tmp_path / "task", upto="split"), make(tmp_path / "far" / "away" / "task", upto="split")
    (there / "models.py").unlink()
    result = run("finetune", "alpha", *SHORT, workspace=here)
    assert result.code == 0, result.err
    rows = run("evaluate", "accuracy", "finetune-alpha-s0", "--json", workspace=here).data
    named = f"file:{here}/runs/finetune-alpha-s0"
    trust = ("--trust", f"{here}/runs/finetune-alpha-s0")
    elsewhere = run("evaluate", "accuracy", named, *trust, "--json", workspace=there)
    assert elsewhere.code == 0, elsewhere.err
    assert elsewhere.data == [{**rows[0], "run": named}]


def test_workspace_can_be_moved(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    assert run("finetune", "alpha", *SHORT, workspace=place).code == 0
    moved_to = Path(shutil.move(place, tmp_path / "moved"))
    named = f"file:{moved_to}/runs/finetune-alpha-s0"
    moved = run("finetune", named, "--name", "again", *SHORT, workspace=moved_to)
    assert moved.code == 0, moved.err


def test_non_finite_student_is_an_error(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    result = run("finetune", "alpha", "--lr", "1e30", "--steps", "1", "--batch-size", "8", workspace=place)
    assert result.code == 1
    assert "not finite" in result.error
    assert not (place / "runs" / "finetune-alpha-s0" / "predictions.parquet").exists()


def test_recalibration_has_no_batch_of_one_image(tmp_path: Path) -> None:
    # Three labelled images in batches of two: batch norm behind pooling cannot take the variance of the last one.
    place = make(tmp_path / "task", labelled="1/class")
    text = (place / "models.py").read_text(encoding="utf-8")
    assert text.count("nn.Flatten(),") == 1
    (place / "models.py").write_text(text.replace("nn.Flatten(),", "nn.Flatten(), nn.BatchNorm1d(width),"))
    result = run("finetune", "beta", "--recalibrate", "--steps", "2", "--batch-size", "2", workspace=place)
    assert result.code == 0, result.err
