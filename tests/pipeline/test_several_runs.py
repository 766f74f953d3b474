"""Several weightings, sources and seeds in one command give the bytes of single commands, and read inputs once."""

import collections
import json
import re
from pathlib import Path

import pytest

from zoo_cli.config import Config, Source
from zoo_cli.pipeline.distill_config import CrossTaskConfig
from zoo_cli.pipeline.distill_plans import plan_cross_task
from zoo_cli.store import feature_files, files, manifest

from ..workspaces import edit, make, run
from .test_bytes import contents
from .transfer_workspace import QUICK, model, ok
from .transfer_workspace import make as with_teachers

TWO_SEEDS = ("--seed", "0", "--seed", "1")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    return make(tmp_path / "task", upto="pseudo-label")


def weights(folder: Path) -> dict[str, float]:
    """The sources of a run and their weights, as its run.json says."""
    return {row["source"]: row["weight"] for row in files.read_json(folder / "run.json")["weights"]}


def one_hot(place: Path, source: str) -> str:
    """The spec of a weighting that gives one source all the weight."""
    rows = [{"source": name, "weight": float(name == source)} for name in ("alpha", "beta", "gamma")]
    place.write_text(json.dumps({"sources": rows}))
    return f"file:{place}"


def test_all_weight_on_one_source_is_that_source_alone(workspace: Path) -> None:
    runs = workspace / "runs"
    ok("distill", "--weighting", "nearest", *QUICK, workspace=workspace)
    nearest = runs / "cross-task-parc-nearest-s0"
    (best,) = weights(nearest)
    other = "alpha" if best != "alpha" else "beta"
    ok("distill", "--each-source", *QUICK, workspace=workspace)
    for source in (best, other):
        weighting = one_hot(workspace / f"{source}-alone.json", source)
        ok("distill", "--weighting", weighting, *QUICK, workspace=workspace)
        ok(
            "distill",
            "--weighting",
            "equal",
            "--source",
            source,
            *QUICK,
            "--name",
            f"only-{source}",
            workspace=workspace,
        )
        names = (f"cross-task-from-{source}-s0", f"cross-task-parc-file-{source}-alone-s0", f"only-{source}")
        assert [weights(runs / name) for name in names] == [{source: 1.0}] * 3
        assert len({model(runs / name) for name in names}) == 1
    assert model(nearest) == model(runs / f"only-{best}")
    assert model(nearest) != model(runs / f"only-{other}")


CASES: dict[str, tuple[tuple[str, ...], dict[str, list[str]]]] = {
    "weightings": (("distill",), {"--weighting": ["p=1", "equal"], "--seed": ["0", "1"]}),
    "sources": (("finetune",), {"": ["alpha", "beta"], "--seed": ["0", "1"]}),
    "fixmatch": (("finetune", "student", "--objective", "fixmatch"), {"--seed": ["0", "1"]}),
}


@pytest.mark.parametrize("case", CASES)
def test_several_runs_in_one_command_are_byte_equal(tmp_path: Path, case: str) -> None:
    command, lists = CASES[case]
    together, apart = (make(tmp_path / name, upto="pseudo-label") for name in ("together", "apart"))
    spread = [part for flag, values in lists.items() for value in values for part in (flag, value) if part]
    ok(*command, *spread, *QUICK, workspace=together)
    singles: list[tuple[str, ...]] = [()]
    for flag, values in lists.items():
        singles = [(*before, *((flag, value) if flag else (value,))) for before in singles for value in values]
    for single in singles:
        ok(*command, *single, *QUICK, workspace=apart)
    assert len(list((apart / "runs").glob("*/model.safetensors"))) == len(singles)
    assert contents(together) == contents(apart)


def test_each_source_is_byte_equal_to_single_commands(tmp_path: Path) -> None:
    together, apart = (make(tmp_path / name, upto="pseudo-label") for name in ("together", "apart"))
    result = ok("distill", "--each-source", *QUICK, "--json", workspace=together)
    assert [row["run"] for row in result.data] == [f"cross-task-from-{name}-s0" for name in ("alpha", "beta", "gamma")]
    for source in ("alpha", "beta", "gamma"):
        ok("distill", "--each-source", "--source", source, *QUICK, workspace=apart)
    assert contents(together) == contents(apart)


def test_two_transfer_seeds_are_byte_equal_to_two_commands(tmp_path: Path) -> None:
    together, apart = (with_teachers(tmp_path / name) for name in ("together", "apart"))
    kl = ("distill", "--objective", "kl", "--student", "normed", "--source", "expert", *QUICK)
    ok(*kl, *TWO_SEEDS, workspace=together)
    for seed in ("0", "1"):
        ok(*kl, "--seed", seed, workspace=apart)
    assert model(apart / "runs/kl-expert-s0") != model(apart / "runs/kl-expert-s1")
    assert contents(together) == contents(apart)


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (("distill", "--weighting", "p=1", "--weighting", "equal", *TWO_SEEDS), 4),
        (("distill", "--each-source"), 3),
        (("finetune", "alpha", "beta", *TWO_SEEDS), 4),
        (("finetune", "student", "--lr", "0.1,0.01", "--objective", "fixmatch"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_images_and_pseudo_labels_are_read_once(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], count: int
) -> None:
    """The networks of this task share one view of an image."""
    seen: collections.Counter[str] = collections.Counter()
    encoded, read = manifest.Images.encoded, feature_files.load_outputs

    def count_image(self: manifest.Images, row: int) -> bytes:
        seen[f"{self.split[row]} {self.ids[row]}"] += 1
        return encoded(self, row)

    def count_table(path: Path, **options: object) -> feature_files.StoredOutputs:
        if "pseudo" in path.parts:
            seen[f"pseudo {path.name}"] += 1
        return read(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(manifest.Images, "encoded", count_image)
    monkeypatch.setattr(feature_files, "load_outputs", count_table)
    result = ok(*command, *QUICK, "--augment", "none", "--json", workspace=workspace)
    assert len(result.data) == count
    times = collections.defaultdict(set)
    for name, number in seen.items():
        times[name.partition(" ")[0]].add(number)
    assert times["test"] == times["labelled"] == {1}
    if command[0] == "distill" or "fixmatch" in command:
        assert times["unlabelled"] == {1}
    assert times["pseudo"] == ({1} if command[0] == "distill" else set())
    if command[0] == "distill":
        assert {name for name in seen if name.startswith("pseudo")} == {
            f"pseudo source={name}" for name in ("alpha", "beta", "gamma")
        }


def test_draws_are_runs_with_random_weights(workspace: Path) -> None:
    result = ok("distill", "--draws", "3", *QUICK, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == [f"cross-task-parc-random-seed{draw}-s0" for draw in range(3)]
    random_weights = [weights(Path(row["path"])) for row in result.data]
    assert len({tuple(by_source.values()) for by_source in random_weights}) == 3
    for by_source in random_weights:
        assert set(by_source) == {"alpha", "beta", "gamma"}
        assert sum(by_source.values()) == pytest.approx(1)
    again = ok("distill", "--weighting", "random:seed=2", *QUICK, "--name", "third", workspace=workspace)
    assert "third" in again.err
    assert model(workspace / "runs/third") == model(Path(result.data[2]["path"]))
    further = ok("distill", "--draws", "1", "--weighting", "equal", *QUICK, "--json", workspace=workspace)
    assert [row["run"] for row in further.data] == ["cross-task-parc-equal-s0", "cross-task-parc-random-seed0-s0"]


def test_runs_of_different_sources_lie_apart(workspace: Path) -> None:
    for chosen in (("alpha",), ("beta", "gamma"), ("gamma", "beta"), ()):
        flags = [text for source in chosen for text in ("--source", source)]
        result = ok("distill", "--weighting", "equal", *flags, *QUICK, workspace=workspace)
        assert ("is up to date" in result.err) == (chosen == ("gamma", "beta"))
    sources = {path.name: set(weights(path)) for path in (workspace / "runs").iterdir() if path.is_dir()}
    assert sources == {
        "cross-task-parc-equal-of-alpha-s0": {"alpha"},
        "cross-task-parc-equal-of-beta+gamma-s0": {"beta", "gamma"},
        "cross-task-parc-equal-s0": {"alpha", "beta", "gamma"},
    }


def test_many_sources_are_a_digest_in_the_name(tmp_path: Path) -> None:
    names = [f"a-source-with-a-long-name-{number:02}" for number in range(9)]
    sources = tuple(Source(name, "python:models.py:small") for name in names)
    settings = Config(tmp_path, student=Source("student", "torchvision:resnet18.DEFAULT"), sources=sources)

    def name(chosen: list[str]) -> str:
        return plan_cross_task(settings, CrossTaskConfig(sources=tuple(chosen))).names()[0]

    assert name(names[:4]) == f"cross-task-parc-p12-of-{'+'.join(names[:4])}"
    digest = name(names[:5])
    assert re.fullmatch("cross-task-parc-p12-of-[0-9a-f]{8}", digest)
    assert name(names[4::-1]) == digest
    assert name(names[1:6]) != digest


def test_leaked_source_has_no_run(workspace: Path) -> None:
    edit(workspace, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    result = ok("distill", "--each-source", *QUICK, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["cross-task-from-beta-s0", "cross-task-from-gamma-s0"]
    assert "alpha is excluded: trained on patterns" in result.err
    by_name = ok("distill", "--each-source", "--source", "alpha", *QUICK, "--json", workspace=workspace)
    assert by_name.data == []
    assert "alpha is excluded: trained on patterns" in by_name.err
    excluded = {row["source"]: row["excluded"] for row in ok("sources", "--json", workspace=workspace).data}
    assert excluded == {"alpha": "trained on patterns", "beta": None, "gamma": None, "@student": None}
    assert "trained on patterns" in ok("sources", workspace=workspace).out
    text = (workspace / "zoo.toml").read_text().replace("[[source]]", '[[source]]\ntrained_on = ["patterns"]')
    (workspace / "zoo.toml").write_text(text.replace('trained_on = ["patterns"]\n\n', "\n", 1))
    none = run("distill", "--each-source", *QUICK, workspace=workspace)
    assert (none.code, "no source is left to learn from" in none.error) == (2, True)


def test_stale_run_is_refused_before_any_is_trained(workspace: Path) -> None:
    ok("distill", "--weighting", "p=1", "--lr", "0.5", *QUICK, workspace=workspace)
    result = run("distill", "--weighting", "equal", "--weighting", "p=1", *QUICK, workspace=workspace)
    assert result.code == 2
    assert "cross-task-parc-p1-s0 was made from other inputs: lr (0.5 there, 0.01 requested)" in result.error
    assert not list((workspace / "runs/cross-task-parc-equal-s0").glob("model.safetensors"))


def test_stale_transfer_or_sweep_is_refused_before_training(tmp_path: Path) -> None:
    workspace = with_teachers(tmp_path / "task")
    two = ("--source", "expert", "--source", "noisy")
    for command, first, last in (
        (("distill", "--objective", "kl", "--student", "normed", *two), ("--seed", "0"), ("--seed", "1")),
        (("finetune", "--lr", "0.1,0.01"), ("expert",), ("normed",)),
    ):
        ok(*command, *last, *QUICK, "--momentum", "0.5", workspace=workspace)
        before = set(workspace.rglob("*.safetensors"))
        result = run(*command, *first, *last, *QUICK, workspace=workspace)
        assert result.code == 2
        assert "momentum (0.5 there, 0.9 requested)" in result.error
        assert set(workspace.rglob("*.safetensors")) == before


def test_predictions_are_equal_alone_and_among_others(tmp_path: Path) -> None:
    """With several students the test images come from memory, as crops of larger views."""
    together, apart = (make(tmp_path / name) for name in ("together", "apart"))
    for workspace in (together, apart):
        file = workspace / "zoo.toml"
        text = file.read_text().replace("input_size = 12", "input_size = 11\nresize = 13")
        file.write_text(text.replace('name = "gamma"', 'name = "gamma"\ninterpolation = "bicubic"'))
    sources = ("alpha", "gamma")
    ok("finetune", *sources, *QUICK, workspace=together)
    for source in sources:
        ok("finetune", source, *QUICK, workspace=apart)
    assert contents(together) == contents(apart)


def test_only_missing_runs_are_trained(workspace: Path) -> None:
    ok("distill", "--weighting", "p=1", *QUICK, workspace=workspace)
    before = contents(workspace / "runs")
    result = ok("distill", "--weighting", "equal", "--weighting", "p=1", *QUICK, "--json", workspace=workspace)
    assert [row["run"] for row in result.data] == ["cross-task-parc-equal-s0", "cross-task-parc-p1-s0"]
    assert "cross-task-parc-p1-s0 is up to date" in result.err
    assert "training " + str(workspace / "runs/cross-task-parc-equal-s0") in result.err
    assert before.items() <= contents(workspace / "runs").items()
