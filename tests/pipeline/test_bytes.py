"""Equal inputs give equal bytes in any order of commands, and nothing reads the truth."""

import hashlib
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zoo_cli.store import files, parquet_files, schemas

from ..workspaces import edit, make, run

STUDENT = ("--steps", "6", "--batch-size", "8")


def contents(workspace: Path) -> dict[str, str]:
    """A digest of every artifact; a *.log.json, which holds times, is not one."""
    digests = {}
    for path in sorted(workspace.rglob("*")):
        if path.is_file() and not path.name.endswith(".log.json") and "__pycache__" not in path.parts:
            digests[str(path.relative_to(workspace))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return digests


def ok(*arguments: str, workspace: Path) -> None:
    result = run(*arguments, workspace=workspace)
    assert result.code == 0, result.err


def test_three_lines_equal_the_full_sequence(tmp_path: Path) -> None:
    short, long = make(tmp_path / "short"), make(tmp_path / "long")
    ok("extract", workspace=short)
    ok("rank", "--metric", "parc", workspace=short)
    ok("distill", "--weighting", "p=2", *STUDENT, workspace=short)
    for stage in ("split", "extract", "score --metric parc", "rank --metric parc", "pseudo-label"):
        ok(*stage.split(), workspace=long)
    ok("distill", "--weighting", "p=2", *STUDENT, workspace=long)
    for workspace in (short, long):
        ok("evaluate", "accuracy", workspace=workspace)  # which writes it into the cards
    assert contents(short) == contents(long)
    assert (short / "runs" / "cross-task-parc-p2-s0" / "model.safetensors").exists()


def test_distill_alone_makes_what_it_needs(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task")
    result = run("distill", *STUDENT, workspace=workspace)
    assert result.code == 0, result.err
    for stage in ("zoo split", "zoo extract"):
        assert f"{stage} makes" in result.err
    assert (workspace / "runs" / "cross-task-parc-p12-s0" / "predictions.parquet").exists()


def test_second_call_does_nothing(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task")
    ok("distill", *STUDENT, workspace=workspace)
    before = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}
    for command in ("split", "extract", "pseudo-label", "distill " + " ".join(STUDENT)):
        ok(*command.split(), workspace=workspace)
    after = {path: path.stat().st_mtime_ns for path in workspace.rglob("*") if path.is_file()}
    assert before == after


def test_each_weighting_has_its_run(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="pseudo-label")
    for weighting in ("p=1", "p=3", "p=6"):
        ok("distill", "--weighting", weighting, *STUDENT, workspace=workspace)
    names = {f"cross-task-parc-p{p}-s0" for p in (1, 3, 6)}
    assert {path.name for path in (workspace / "runs").iterdir() if path.is_dir()} == names
    weights = {name: files.read_json(workspace / "runs" / name / "run.json")["weights"] for name in names}
    assert len({str(value) for value in weights.values()}) == 3


def empty_truth(manifest: Path) -> None:
    table = pq.read_table(manifest)
    place = table.column_names.index("truth")
    assert table.column("truth").null_count < len(table)
    nothing = pa.array([None] * len(table), pa.int64())
    pq.write_table(table.set_column(place, table.schema.field("truth"), nothing), manifest)


def test_truth_is_only_in_the_labels_of_predictions(tmp_path: Path) -> None:
    knowing, blind = make(tmp_path / "knowing"), make(tmp_path / "blind")
    for workspace in (knowing, blind):
        ok("split", workspace=workspace)
    empty_truth(blind / "manifest.parquet")
    for workspace in (knowing, blind):
        for stage in ("extract", "score", "rank", "pseudo-label"):
            ok(stage, workspace=workspace)
        ok("distill", *STUDENT, workspace=workspace)
    first, second = contents(knowing), contents(blind)
    differing = {name for name in first if first[name] != second.get(name)}
    run_files = {f"runs/cross-task-parc-p12-s0/{name}" for name in ("predictions.parquet", "SHA256SUMS")}
    assert differing == {"manifest.parquet", *run_files}
    tables = [
        parquet_files.read_table(w / "runs/cross-task-parc-p12-s0/predictions.parquet", schemas.PREDICTIONS)
        for w in (knowing, blind)
    ]
    assert tables[0].drop_columns("label").equals(tables[1].drop_columns("label"))
    assert tables[1].column("label").null_count == len(tables[1])
    assert tables[0].column("label").null_count == 0


def test_probe_is_labelled(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="split")
    table = parquet_files.read_table(workspace / "manifest.parquet", schemas.MANIFEST)
    rows = table.to_pylist()
    assert all(row["split"] == "labelled" for row in rows if row["probe"])
    assert all((row["label"] is None) == (row["split"] != "labelled") for row in rows)
    assert all((row["truth"] is None) == (row["split"] == "labelled") for row in rows)


def test_new_split_keeps_extractions_current(tmp_path: Path) -> None:
    workspace = make(tmp_path / "task", upto="extract")
    before = contents(workspace)
    ok("split", "--seed", "5", "--overwrite", workspace=workspace)
    edit(workspace, "[task]\n", "[task]\nseed = 5\n")
    result = run("extract", workspace=workspace)
    assert result.code == 0, result.err
    assert result.err.count("is up to date") == 4
    after = contents(workspace)
    changed = {name for name in before if before[name] != after.get(name)}
    assert changed == {"manifest.parquet", "zoo.toml"}


def test_copied_workspace_is_byte_equal(tmp_path: Path) -> None:
    here = make(tmp_path / "here", upto="pseudo-label")
    there = tmp_path / "there" / "deep"
    shutil.copytree(here, there)
    for workspace in (here, there):
        ok("distill", *STUDENT, workspace=workspace)
    assert contents(here) == contents(there)
