"""Shards: jobs that share the parts of a stage, in any order and number, make the files that one job makes."""

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.processes import SMALL_PARTS, Process, start
from tests.marks import slow
from tests.pipeline.test_bytes import contents
from tests.ranks import run_ranks
from tests.workspaces import edit, make, run
from zoo_cli import config
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import failed_images, prepare
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.shards import WHOLE, Shard, parse_shard
from zoo_cli.store import checksums, failures, feature_store, output_summary, schemas
from zoo_cli.store.failures import Failure

FEW = 10
"""Rows of a part."""
PSEUDO_PARTS = f"""
from zoo_cli.store import schemas
schemas.ROW_GROUP = {FEW}
"""


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", os.fstat)  # which takes most of the time here
    monkeypatch.setattr(feature_store, "PART_ROWS", FEW)
    monkeypatch.setattr(schemas, "ROW_GROUP", FEW)


def build(place: Path) -> Path:
    """A workspace after zoo split: one more source of stored outputs, and two images that are gone since."""
    make(place)
    text = (place / "zoo.toml").read_text(encoding="utf-8")
    (place / "zoo.toml").write_text(f'{text}\n[[source]]\nname = "theirs"\nmodel = "features:theirs.parquet"\n')
    paths = sorted((place / "images").rglob("*.png"))
    draw = np.random.default_rng(3)
    columns = {name: pa.array(list(draw.normal(size=(len(paths), 4)))) for name in ("embedding", "logits")}
    ids = [f"train/{path.relative_to(place / 'images').as_posix()}" for path in paths]
    pq.write_table(pa.table({"id": ids, **columns}), place / "theirs.parquet")
    assert run("split", workspace=place).code == 0
    manifest = prepare.prepare(config.load(place))
    for row in manifest.where(split=("unlabelled",))[[0, -1]]:
        (place / str(manifest.paths[row])).unlink()
    return place


def do(place: Path, *arguments: str, code: int = 0) -> str:
    result = run(*arguments, workspace=place)
    assert result.code == code, result.err
    return result.err


EXTRACT = ("extract", "--max-errors", "2")


@pytest.mark.parametrize("views", [(), *slow(("--views", "2"))])
@pytest.mark.usefixtures("small_parts")
def test_shards_in_any_order_and_number(views: Sequence[str], tmp_path: Path) -> None:
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    for place, shards in ((alone, ["1/1"]), (shared, ["3/4", "1/4", "1/2", "3/4", "2/2"])):
        for shard in shards:
            do(place, *EXTRACT, *views, "--shard", shard)
        for shard in (*shards, "9/9"):
            do(place, "pseudo-label", *views, "--shard", shard)
    assert contents(shared) == contents(alone)
    do(alone, *EXTRACT, *views)
    do(alone, "pseudo-label", *views)
    assert contents(shared) == contents(alone)


@pytest.mark.usefixtures("small_parts")
def test_one_shard_makes_its_parts_alone(tmp_path: Path) -> None:
    place = build(tmp_path / "task")
    text = do(place, "extract", "--shard", "2/4")
    assert "shard 2/4 is done: 4 of 20 parts of the sources are stored; the others belong to other shards" in text
    parts = sorted(path.name for path in (place / "features/source=beta").rglob("*.parquet"))
    assert parts == ["part-00001-of-00004.parquet"]
    assert not (place / "features/source=beta" / output_summary.DOCUMENT).exists()
    assert not (place / "features/source=theirs").exists()
    assert "shard 2/4 of beta is up to date" in do(place, "extract", "--shard", "2/4")
    status = ("status", "--stage", "extract --shard 2/4 --source beta", "--stage", "extract --source beta", "--json")
    assert [row["done"] for row in run(*status, workspace=place).data] == [1, 0]


@pytest.mark.usefixtures("small_parts")
def test_refresh_by_shards_keeps_the_old_until_all_are_there(tmp_path: Path) -> None:
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    for place in (alone, shared):
        do(place, *EXTRACT, "--views", "2")
        do(place, "pseudo-label")
        edit(place, 'weights = "alpha.safetensors"', "")
    before = contents(shared / "features")
    do(alone, *EXTRACT, "--views", "2", "--refresh")
    do(alone, "pseudo-label", "--refresh")
    for number in (3, 1):
        assert "when the other shards have made" in do(shared, *EXTRACT, "--refresh", "--shard", f"{number}/3")
    visible = {name: digest for name, digest in contents(shared / "features").items() if not name.startswith(".")}
    assert visible == before
    do(shared, *EXTRACT, "--refresh", "--shard", "2/3")
    for number in (2, 1):
        do(shared, *EXTRACT, "--views", "2", "--refresh", "--shard", f"{number}/2")
    assert "when the other shards have made" in do(shared, "pseudo-label", "--refresh", "--shard", "1/2")
    do(shared, "pseudo-label", "--refresh", "--shard", "2/2")
    assert contents(shared) == contents(alone)


def test_part_of_images_that_all_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "PART_ROWS", 35)
    place = build(tmp_path / "task")
    manifest = prepare.prepare(config.load(place))
    (place / str(manifest.paths[35])).unlink(missing_ok=True)
    do(place, "extract", "--max-errors", "3")
    do(place, "pseudo-label")
    do(place, "rank", "--metric", "lfc")


def test_failures_lost_to_another_process_are_recorded_again(tmp_path: Path) -> None:
    place = build(tmp_path / "task")
    do(place, *EXTRACT)
    settings = config.load(place)
    known = failures.load_failures(settings, "extract")
    assert len(known) == 2
    other = Failure("another", None, "it is of a source of another command")
    failures.write_failures(settings.errors("extract"), "extract", [other], 36, "2")
    do(place, *EXTRACT, code=4)
    assert failures.load_failures(settings, "extract") == [other, *known]
    images = prepare.prepare(settings)
    failed_images.record_unexplained(settings, images, settings.models, ExtractConfig())
    assert failures.load_failures(settings, "extract") == [other, *known]


@pytest.mark.usefixtures("small_parts")
def test_views_before_the_outputs_of_another_shard(tmp_path: Path) -> None:
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    do(alone, *EXTRACT, "--views", "2")
    # Of seven, the first has the last image's views and the fourth its plain outputs.
    do(shared, *EXTRACT, "--views", "2", "--shard", "1/7")
    do(shared, *EXTRACT, "--views", "2", "--shard", "2/7")
    assert len(failures.failed_ids(config.load(shared), "extract")) == 2
    do(shared, *EXTRACT, "--views", "2", "--shard", "2/2")
    do(shared, *EXTRACT, "--views", "2", "--shard", "1/2")
    assert contents(shared) == contents(alone)


@pytest.mark.usefixtures("small_parts")
def test_views_of_an_image_that_failed_after_its_outputs_were_made(tmp_path: Path) -> None:
    place = build(tmp_path / "task")
    do(place, *EXTRACT)
    manifest = prepare.prepare(config.load(place))
    (place / str(manifest.paths[7])).unlink()
    assert f"{manifest.ids[7]}: cannot be read" in do(place, *EXTRACT, "--views", "2", "--shard", "2/4", code=3)


def test_a_record_of_failures_that_another_process_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = build(tmp_path / "task")
    do(place, *EXTRACT)
    settings = config.load(place)
    # Called when a file is about to be read.
    monkeypatch.setattr(checksums, "check_file", lambda _: settings.errors("extract").unlink(missing_ok=True))
    assert failures.load_failures(settings, "extract") == []
    failures.write_failures(settings.errors("extract"), "extract", [Failure("a", None, "b")], 1, "0")
    assert failures.load_record(settings, "extract") is None


def test_record_of_a_process_that_was_killed_is_completed(tmp_path: Path) -> None:
    place = build(tmp_path / "task")
    do(place, *EXTRACT)
    settings = config.load(place)
    path, known = settings.errors("extract"), failures.load_failures(settings, "extract")
    complete = path.read_bytes()
    failures.write_failures(path, "extract", known, None, "2")  # as parts are stored, before the last is
    assert "2 of 36 images failed, more than --max-errors 1" in do(place, "extract", "--max-errors", "1", code=4)
    failures.write_failures(path, "extract", known, None, "2")
    do(place, *EXTRACT)
    assert path.read_bytes() == complete


def start_shards(place: Path, folder: Path, *command: str, count: int = 4, pause: float = 0.0) -> list[Process]:
    before = SMALL_PARTS.format(pause=pause).replace("= 4", f"= {FEW}") + PSEUDO_PARTS
    return [
        start(
            *command,
            "--shard",
            f"{number}/{count}",
            workspace=place,
            before=before,
            place=folder / f"{time.monotonic_ns()}-{number}",
        )
        for number in range(1, count + 1)
    ]


@pytest.mark.usefixtures("small_parts")
def test_four_processes_of_which_two_are_killed(tmp_path: Path) -> None:
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    do(alone, *EXTRACT)
    do(alone, "pseudo-label")
    command = (*EXTRACT, "--workers", "0")
    processes = start_shards(shared, tmp_path, *command, pause=0.1)
    for process in processes[:2]:
        process.until(lambda: any((shared / "features").rglob("part-*.parquet")))
        process.send(signal.SIGKILL)
    assert [process.result().code for process in processes] == [-9, -9, 0, 0]
    for process in start_shards(shared, tmp_path, *command, count=3):
        assert process.result().code == 0
    for process in start_shards(shared, tmp_path, "pseudo-label"):
        assert process.result().code == 0
    assert contents(shared) == contents(alone)


@pytest.mark.usefixtures("small_parts")
def test_auto_under_torchrun_lets_no_process_wait(tmp_path: Path) -> None:
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    do(alone, *EXTRACT)
    before = SMALL_PARTS.format(pause=0.02).replace("= 4", f"= {FEW}") + PSEUDO_PARTS
    kill = "from zoo_cli.images import view_batches\nimport os\nfrom zoo_cli.pipeline import part_maker\n"
    kill += "part_maker.view_batches = lambda *_: os.kill(os.getpid(), 9)\n"
    command = (*EXTRACT, "--shard", "auto")
    results = run_ranks(*command, workspace=shared, place=tmp_path / "a", count=3, before=before, only=[kill])
    assert [result.code for result in results] == [-9, 0, 0]
    (last,) = run_ranks(*EXTRACT, "--shard", "1/3", workspace=shared, place=tmp_path / "b", count=1, before=before)
    assert last.code == 0
    assert contents(shared) == contents(alone)


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("seed", range(12))
def test_random_kills_of_four_processes(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    alone, shared = (build(tmp_path / name) for name in ("alone", "shared"))
    views = ("--views", "2") if seed % 3 == 2 else ()
    command, labels = (*EXTRACT, *views, "--workers", "0"), ("pseudo-label", *views)
    do(alone, *command)
    do(alone, *labels)
    for words, stage in ((command, "features"), (labels, "pseudo")):
        for _ in range(4):
            count = draw.choice((2, 4, 4, 7))
            processes = start_shards(shared, tmp_path, *words, count=count, pause=draw.uniform(0, 0.05))
            time.sleep(draw.uniform(0, 1.5))
            for process in draw.sample(processes, draw.randint(1, count)):
                process.send(signal.SIGKILL)
            codes = [process.result().code for process in processes]
            assert set(codes) <= {0, -9}, (stage, codes)
        for process in start_shards(shared, tmp_path, *words):
            assert process.result().code == 0
    made, expected = ({k: v for k, v in contents(p).items() if not k.endswith(".tmp")} for p in (shared, alone))
    assert made == expected


@pytest.mark.parametrize(
    ("text", "environment", "shard"),
    [
        (None, {}, WHOLE),
        ("1/1", {}, WHOLE),
        ("8/8", {}, Shard(8, 8)),
        ("auto", {"RANK": "2", "WORLD_SIZE": "4"}, Shard(3, 4)),
        ("auto", {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}, Shard(2, 2)),
        ("auto", {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "5", "SLURM_ARRAY_TASK_MAX": "8"}, Shard(3, 4)),
        (
            "auto",
            {
                "SLURM_ARRAY_TASK_ID": "20",
                "SLURM_ARRAY_TASK_MAX": "40",
                "SLURM_ARRAY_TASK_MIN": "0",
                "SLURM_ARRAY_TASK_STEP": "10",
                "SLURM_ARRAY_TASK_COUNT": "5",
                "SLURM_STEP_NUM_TASKS": "2",
                "SLURM_PROCID": "1",
            },
            Shard(6, 10),
        ),
        # The script of a job for four tasks, before srun; a single task of an array.
        ("auto", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, WHOLE),
    ],
)
def test_shard_of_a_text(text: str | None, environment: dict[str, str], shard: Shard) -> None:
    if "SLURM_ARRAY_TASK_MAX" in environment:
        environment = {"SLURM_ARRAY_TASK_COUNT": "4", **environment}
    assert parse_shard(text, environment) == shard


@pytest.mark.parametrize("text", ["0/4", "5/4", "a/b", "1", "1/0", "-1/4", "1/4/2", "", "1.5/4", "１/4", "1/9999999"])
def test_another_text_is_refused(text: str, tmp_path: Path) -> None:
    make(tmp_path / "task")
    for command in ("extract", "pseudo-label"):
        result = run(command, "--shard", text, workspace=tmp_path / "task")
        assert result.code == 2
        assert result.error == f'--shard "{text}"; expected I/N, job I of N, from 1/N to N/N; or auto'
    assert not (tmp_path / "task" / "manifest.parquet").exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "finds neither torchrun's nor Slurm's variables; write --shard I/N"),
        ({"RANK": "x", "WORLD_SIZE": "4"}, "a variable of the job is not a number"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "contradict one another"),
        (
            {
                "SLURM_ARRAY_TASK_ID": "7",
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_MAX": "7",
                "SLURM_ARRAY_TASK_COUNT": "3",
            },
            "an array of 3 tasks from 1 to 7 has gaps",
        ),
    ],
)
def test_auto_without_numbers_is_refused(environment: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_shard("auto", environment)


@pytest.mark.parametrize(
    ("upto", "command", "message"),
    [
        ("split", "extract --overwrite", "--overwrite and --shard cannot be combined"),
        ("split", "extract --gradients", "--gradients and --shard cannot be combined"),
        (None, "extract", "which all shards read; run zoo split once, before them"),
        (None, "pseudo-label", "which all shards read; run zoo split once, before them"),
        ("split", "pseudo-label", "the features of alpha are not complete"),
        ("extract", "pseudo-label --overwrite", "--overwrite and --shard cannot be combined"),
        ("extract", "pseudo-label --head ridge", "--shard divides the pseudo-labels of the sources of zoo.toml"),
    ],
)
def test_what_shards_cannot_do_is_refused(upto: str | None, command: str, message: str, tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto=upto)
    before = contents(place)
    result = run(*command.split(), "--shard", "1/2", workspace=place)
    assert result.code == 2
    assert message in result.error
    assert contents(place) == before


def test_stages_of_a_plan_have_shards(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="split")
    plan = ("plan", "--format", "sh", "--stage", "extract --shard 1/2", "--stage", "extract --shard 2/2")
    lines = run(*plan, workspace=place).out.splitlines()
    assert lines[0] == f"zoo extract --source alpha --shard 1/2 -C {place}"
    assert len(lines) == len(set(lines)) == 8
    for stage in ("extract --shard auto", "pseudo-label --head ridge --shard 1/2", "extract --shard 3/2"):
        assert run("plan", "--stage", stage, workspace=place).code == 2
    shutil.rmtree(place)
