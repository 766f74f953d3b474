"""The scripts of the claims: a search never sees test images, and gives every method equally many settings."""

import json
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from zoo_cli import config
from zoo_cli.pipeline.tune_candidates import load_candidates
from zoo_cli.store import files
from zoo_cli.store.manifest import NO_LABEL, load_manifest

from .. import workspaces
from . import (
    defaults,
    defaults_tables,
    defaults_workspaces,
    evidence_targets,
    held_out,
    labels_asked,
    pools,
    settings,
    targets,
)
from .expert_targets import network

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.sh"))
METHODS = ("labels-only", "fixmatch", "single", "nearest", "random", "p=1", "inverse:form=complement")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).stderr == b""


def test_scripts_name_no_machine_paths() -> None:
    for path in (*SCRIPTS, *HERE.glob("*.py")):
        assert "/root" + "/" not in path.read_text()
        assert "/work" + "/" not in path.read_text()


def test_experts_of_the_evidence_have_the_students_network(capsys: pytest.CaptureFixture[str]) -> None:
    # The pretrained student is one of them, and the best of them is fine-tuned in its place.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["evidence_targets", "network"])
        evidence_targets.main()
    assert tomllib.loads(capsys.readouterr().out)["source"] == [{"name": "network", **network("four_convolutions")}]


def test_search_trains_on_no_held_out_or_test_image(tmp_path: Path) -> None:
    searched = workspaces.make(tmp_path / "task", upto="split")
    held_out.write_search(searched, searched / "search", 0.4)
    whole, search = (load_manifest(place / "manifest.parquet", place) for place in (searched, searched / "search"))
    held_out_ids = set(search.ids[search.where(split=("test",))])
    trained = set(search.ids[search.where(split=("labelled", "unlabelled"))])
    probed = set(search.ids[search.where(probe=True)])
    assert held_out_ids
    assert held_out_ids <= set(whole.ids[whole.where(split=("labelled",))])
    assert not held_out_ids & trained
    assert not held_out_ids & probed
    assert not set(whole.ids[whole.where(split=("test",))]) & set(search.ids)
    assert (search.labels[search.where(split=("test",))] == NO_LABEL).all()
    labels = search.truth()[search.where(split=("test",))]
    assert len(set(Counter(labels.tolist()).values())) == 1, "equally many of every class"
    assert search.encoded(0) == whole.encoded(list(whole.ids).index(search.ids[0]))


def test_the_number_of_labels_that_decides_is_where_most_draws_do() -> None:
    sizes = (30, 60, 120)
    assert labels_asked.number_that_decides(sizes, (0.2, 0.6, 1.0)) == pytest.approx(np.sqrt(60 * 120))
    assert labels_asked.number_that_decides(sizes, (0.9, 0.6, 1.0)) == pytest.approx(np.sqrt(60 * 120)), "and stays so"
    assert labels_asked.number_that_decides(sizes, (0.9, 0.9, 1.0)) == 30
    assert labels_asked.number_that_decides(sizes, (0.9, 0.9, 0.7)) is None


def test_duplicates_of_held_out_images_are_left_out() -> None:
    def row(number: int, split: str, sha256: str) -> dict[str, object]:
        label = number % 2 if split == "labelled" else None
        keys = {"group": None, "data": "train", "probe": split == "labelled", "truth": number % 2}
        return {"id": f"i{number}", "split": split, "label": label, "sha256": sha256, **keys}

    labelled = [row(k, "labelled", f"l{k}") for k in range(6)]
    twins = [row(10 + k, "unlabelled", f"l{k}") for k in range(6)]
    rows = held_out.select_rows([*labelled, *twins, row(20, "test", "t")], 0.34, 0)
    hashes = {row["sha256"] for row in rows if row["split"] == "test"}
    assert len(hashes) == 2
    assert not hashes & {row["sha256"] for row in rows if row["split"] != "test"}
    assert len(rows) == 10


def test_class_with_one_image_left_leaves_the_probe(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", labelled="2/class")
    assert workspaces.run("split", workspace=place).code == 0
    held_out.write_search(place, tmp_path / "search", 0.4)
    search = load_manifest(tmp_path / "search" / "manifest.parquet", tmp_path)
    assert len(search.where(split=("labelled",))) == 3
    assert not len(search.where(probe=True))


def row(candidate: str, gain: float | None, **values: object) -> dict[str, object]:
    return {"candidate": candidate, "gain": gain, "lr": None, "lam": None, "augment": None, **values}


def test_each_method_gets_its_best_settings() -> None:
    rows = [
        row("labels-only", None),
        row("labels-only-2", -0.1, lr=0.2, augment="crop"),
        row("nearest-1", -0.2, lr=0.1, lam=0.2, augment="flip"),
        row("nearest-2", -0.1, lr=0.3, lam=0.5, augment="crop"),
        row("p12-1", None, lr=0.9, lam=0.2, augment="flip"),
        row("p12-2", -0.3, lr=0.3, lam=0.5, augment="crop"),
        row("equal-1", 0.1, lr=0.4, lam=0.5, augment="flip"),
    ]
    methods = ("labels-only", "nearest", "p=12", "equal", "single")
    assert settings.plan_commands(rows, methods, {"lr": 0.05, "augment": "flip"}) == {
        "--lr 0.05 --augment flip": ["labels-only"],
        "--lr 0.3 --lam 0.5 --augment crop": ["nearest", "p=12"],
        "--lr 0.4 --lam 0.5 --augment flip": ["equal", "single"],
    }
    with pytest.raises(SystemExit, match="no candidate of p=6"):
        settings.plan_commands(rows, ["p=6"], {})


def test_search_gives_methods_equal_budgets(tmp_path: Path) -> None:
    (tmp_path / "candidates.toml").write_text(targets.format_candidates("mnist", 3, METHODS))
    candidates = load_candidates(tmp_path / "candidates.toml")
    counts = Counter(candidate.name.rpartition("-")[0] for candidate in candidates)
    assert counts == {"labels-only": 2, "fixmatch": 3, "nearest": 3, "p1": 3, "inverse-formcomplement": 3}
    assert {candidate.weighting for candidate in candidates} == {
        None,
        "nearest",
        "p=1",
        "inverse:form=complement",
    }
    assert len({(each.lr, each.augment) for each in candidates if each.objective == "labels-only"}) == 2
    (command,) = called(tmp_path, 'search mnist "$2" ' + " ".join(METHODS))
    assert "tune -C" in command
    assert "--steps 1000 --batch-size 32 --schedule cosine" in command
    (tmp_path / "tune").mkdir()
    (tmp_path / "tune" / "tune.json").write_text("{}")
    (tmp_path / "log").unlink()
    assert called(tmp_path, 'search mnist "$2" nearest') == [], "a finished search is kept"


def test_words_of_the_scripts_are_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["targets", "candidates", "mnist", "--trials", "1", *METHODS])
    targets.main()
    assert capsys.readouterr().out.count("[[candidate]]") == 4
    monkeypatch.setattr("sys.argv", ["targets", "base", "mnist"])
    targets.main()
    assert capsys.readouterr().out == "--lr 0.05 --augment affine\n"


def test_final_students_differ_only_in_the_choice(tmp_path: Path) -> None:
    line = 'train_students "$2/few/mnist" "0 1" 3 "--steps 5 --lr 0.1 --augment crop" '
    commands = called(tmp_path, line + " ".join(METHODS))
    assert [command.split()[0] for command in commands] == ["distill", "finetune", "distill", "distill"]
    for command in commands:
        for flag in ("--steps 5", "--lr 0.1", "--batch-size 32", "--schedule cosine", "--seed 0 --seed 1", "--augment"):
            assert flag in command
    assert "--weighting nearest --draws 3 --weighting p=1 --weighting inverse:form=complement" in commands[-1]


def called(folder: Path, line: str) -> list[str]:
    """The zoo commands that a line of bash runs."""
    script = f'source "{HERE}/tasks.sh"; zoo() {{ echo "$@" >> "{folder}/log"; }}\npython3() {{ :; }}\n{line}'
    result = subprocess.run(["bash", "-c", script, "_", "small", str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return (folder / "log").read_text().splitlines() if (folder / "log").exists() else []


def test_zoo_of_a_target_declares_who_has_seen_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "weights"
    for name in {name for family in targets.FAMILIES.values() for name in family.networks}:
        card = {"input_size": 96, "input_channels": 3, "mean": [0.5] * 3, "std": [0.5] * 3}
        files.write_json(weights / f"{name}.json", card)
    monkeypatch.setattr(targets, "SHARED", tmp_path)
    for task, expected in (
        ("mnist", {"mnist"}),
        ("cifar10-gray", {"cifar10_resnet20"}),
        ("tin-animals", {"tin-animals", "imagenet_mobilenet_v1_025_128"}),
    ):
        (tmp_path / "zoo.toml").write_text(targets.format_toml(task, tmp_path / "experts", labelled="5%"))
        loaded = config.load(tmp_path)
        names = {loaded.task.name, *loaded.task.aliases}
        leaking = {source.name for source in loaded.sources if names & set(source.trained_on)}
        assert leaking == expected
        assert loaded.task.labelled == "5%"
        assert not set(loaded.task.train) & set(loaded.task.test)


@pytest.mark.parametrize("family", targets.FAMILIES)
def test_grids_have_equal_budgets(family: str) -> None:
    grid = [setting.split(":") for setting in targets.FAMILIES[family].grid]
    assert len({tuple(parts[:3]) for parts in grid}) == len({tuple(parts[3:]) for parts in grid}) == 6


def test_targets_may_set_their_numbers_of_labels(tmp_path: Path) -> None:
    called(tmp_path, "for n in few many; do zoo $(label_count mnist=5/class,20/class $n) $(label_count gtsrb $n); done")
    assert (tmp_path / "log").read_text() == "5/class 5%\n20/class 20%\n"


def test_labels_are_drawn_per_class() -> None:
    truth = np.array([0] * 9 + [1] * 3 + [2] * 5)
    first, again, other = (pools.draw_labels(truth, 4, draw) for draw in (0, 0, 1))
    assert first.counts.tolist() == [4, 2, 4], "one image of a small class stays unlabelled"
    assert (truth[first.rows] == first.labels).all()
    assert first.rows.tolist() == again.rows.tolist() != other.rows.tolist()


def test_pool_tables_count_trials(tmp_path: Path) -> None:
    def row(draw: int, accuracy: float, interval: list[float]) -> dict[str, object]:
        good = {"accuracy": accuracy, "nll": 0.5, "estimate": interval}
        bad = {"accuracy": 0.2, "nll": 0.9, "estimate": [0.2, 0.1, 0.3]}
        return {"pack": "dtd10", "count": 5, "draw": draw, "single": [0.4, 0.6], "product": good, "best": bad}

    rows = [row(0, 0.5, [0.6, 0.4, 0.8]), row(1, 0.7, [0.6, 0.55, 0.65])]
    (tmp_path / "pools.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    read = list(pools.read(tmp_path))
    assert "| dtd10 | 60.0 | 60.0 | 20.0 | 60.0 |" in pools.format_accuracies(read, ["product", "best"], 5)
    assert "| dtd10 | +0.0 | 50 | 25 |" in pools.format_estimates(read, "product", [5])


def test_defaults_table_takes_the_best_augmentation_of_labels_only() -> None:
    methods = (*defaults.UNFLAGGED, defaults.Method(defaults.LABELS_ONLY, augment="crop", steps=0))
    accuracies = {"labels-only-1-affine-default": 0.5, "labels-only-1-crop-default": 0.6}
    rows = [
        {"pack": pack, "labels": 5, "draw": draw, "student": "scratch", "method": method.name}
        | {"accuracy": accuracies.get(method.name, 0.7 + 0.1 * draw)}
        for pack in defaults_workspaces.PACKS[:2]
        for draw in (0, 1)
        for method in methods
    ]
    table = defaults_tables.format_students(rows, 5, "scratch", methods).splitlines()
    assert table[0].split(" | ")[1:3] == list(defaults_workspaces.PACKS[:2])
    gains = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip(" |") for line in table[2:6]}
    assert gains == {
        "labels-only-1-affine-default": "-10.0",
        "labels-only-1-crop-default": "+0.0",
        "cross-task-p2-0.8-affine-default": "+15.0",
        "heads-product-0.2-affine-default": "+15.0",
    }
    assert table[-1].startswith("Draws: 2 to 2. Heads less labels-only-1-crop-default: +15.0, +15.0; 5 points or more")


def test_compared_packs_are_not_those_of_the_choice() -> None:
    assert len(defaults_workspaces.PACKS) == 8
    assert not set(defaults_workspaces.PACKS) & set(defaults_workspaces.DEVELOPMENT)
    assert {cell.pack for cell in defaults_workspaces.development_cells()} == set(defaults_workspaces.DEVELOPMENT)
