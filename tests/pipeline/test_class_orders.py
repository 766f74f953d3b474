"""A teacher whose class names are not known is first tried on the labelled images."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evaluate import task_models
from tests.pipeline.transfer_workspace import ok
from tests.workspaces import edit, run
from zoo_cli.store.manifest import load_manifest

QUICK = ("--steps", "2", "--batch-size", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The task with a teacher "mirror" whose classes are in another order, of which nothing says so."""
    place = task_models.make(tmp_path_factory.mktemp("orders") / "task")
    edit(place, "classes = ['red', 'green', 'blue']\n", "")
    images = load_manifest(place / "manifest.parquet", place)
    known = np.maximum(images.truth(), 0)
    for name, labels in (("stored", known), ("shuffled", 2 - known)):
        logits = 8.0 * np.eye(3, dtype=np.float32)[labels] + np.random.default_rng(0).normal(0, 0.1, (len(known), 3))
        pq.write_table(pa.table({"id": images.ids.tolist(), "logits": logits.tolist()}), place / f"{name}.parquet")
        with (place / "zoo.toml").open("a") as stream:
            stream.write(f'\n[[source]]\nname = "{name}"\nmodel = "features:{name}.parquet"\n')
    return place


@pytest.mark.parametrize("objective", ["kl", "mcl", "dp"])
def test_a_refuted_order_is_refused_before_any_step(objective: str, template: Path) -> None:
    command = ("distill", "--objective", objective, "--source", "mirror", "--student", "expert", *QUICK)
    result = run(*command, workspace=template)
    assert result.code == 3, result.err
    assert "the outputs of mirror are not the task's classes in order: " in result.error
    assert 'classes = ["red", "green", "blue"]' in result.error
    assert not list(template.glob("runs/*/run.json"))


def test_the_order_that_fits_is_said(template: Path) -> None:
    result = ok("distill", "--objective", "kl", "--source", "plain", "--student", "expert", *QUICK, workspace=template)
    assert "plain is right on " in result.err
    assert "labelled images in that order" in result.err


@pytest.mark.parametrize(("name", "code"), [("stored", 0), ("shuffled", 3)])
def test_stored_teachers_are_tried_too(name: str, code: int, template: Path) -> None:
    command = ("--targets", "stored", "--augment", "none", "--student", "expert", *QUICK)
    result = run("distill", "--objective", "kl", "--source", name, *command, workspace=template)
    assert result.code == code, result.err
    if code:
        assert f"the outputs of {name} are not the task's classes in order" in result.error


def test_accuracy_of_a_refuted_order_is_no_number(template: Path) -> None:
    assert run("evaluate", "accuracy", "plain", workspace=template).code == 0
    result = run("evaluate", "accuracy", "mirror", workspace=template)
    assert result.code == 3
    assert "the outputs of mirror are not the task's classes in order" in result.error
    assert not (template / "predictions/source=mirror.parquet").exists()
