"""The scripts of the claims: a search never sees test images, and gives every method equally many settings."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from zoo_cli import config
from zoo_cli.store import files, schemas
from zoo_cli.store.manifest import NO_LABEL, load_manifest

from .. import workspaces
from . import choose, defaults, defaults_tables, defaults_workspaces, fits, held_out, pools, table, targets

HERE = Path(__file__).parent
SCRIPTS = sorted(HERE.glob("*.sh"))
GRID = "a:b:flip:c:crop d:e:f:g:h i:j:k:l:m n:o:p:q:r"
METHODS = ("labels-only", "fixmatch", "single", "nearest", "random", "p=1", "inverse:form=complement")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small task's workspace, the search in it, and the students that the search leads to."""
    place = workspaces.make(tmp_path_factory.mktemp("claims") / "task", upto="rank")
    search = place / "search"
    held_out.write_search(place, search, 0.4)
    for name in ("models.py", "alpha.safetensors"):
        (search / name).write_bytes((place / name).read_bytes())
    (search / "zoo.toml").write_text(workspaces.toml(train=None, labelled=None))
    for steps, lr in ((2, 0.5), (4, 0.5), (4, 0.01)):
        common = ("--steps", str(steps), "--lr", str(lr), "--batch-size", "8")
        train(search, search / "tried" / f"{steps}-{lr}", common)
    train(place, place / "runs", ("--steps", "4", "--batch-size", "8"))
    (place / "rank.json").write_text(workspaces.run("rank", "--json", workspace=place).out)
    return place


def train(workspace: Path, runs: Path, common: tuple[str, ...]) -> None:
    runs.mkdir(parents=True, exist_ok=True)
    if runs != workspace / "runs":
        (workspace / "runs").unlink(missing_ok=True)
        (workspace / "runs").symlink_to(runs)
    for command in (
        ("distill", "--lam", "1"),
        ("distill", "--each-source"),
        ("distill", "--weighting", "p=1", "--weighting", "nearest"),
    ):
        result = workspaces.run(*command, *common, workspace=workspace)
        assert result.code == 0, result.err


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_valid_bash(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], capture_output=True).stderr == b""


def test_scripts_name_no_machine_paths() -> None:
    for path in (*SCRIPTS, *HERE.glob("*.py")):
        assert "/root" + "/" not in path.read_text()
        assert "/work" + "/" not in path.read_text()


def test_search_trains_on_no_held_out_or_test_image(searched: Path) -> None:
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


def test_search_predicts_the_held_out_images(searched: Path) -> None:
    search = load_manifest(searched / "search" / "manifest.parquet", searched / "search")
    for path in (searched / "search" / "tried").glob("*/*/predictions.parquet"):
        ids = files.read_table(path, schemas.PREDICTIONS, ["id"]).column("id").to_pylist()
        assert set(ids) == set(search.ids[search.where(split=("test",))])


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


def test_each_method_gets_its_best_settings_at_one_length(searched: Path) -> None:
    rows = choose.read_runs(searched / "search")
    assert Counter(row["method"] for row in rows) == {"labels-only": 3, "single": 9, "p1": 3, "nearest": 3}
    steps = choose.choose_length(rows)
    for flags, names in choose.plan_commands(rows, ["labels-only", "single", "p=1", "nearest"]).items():
        assert f"--steps {steps} " in flags
        for name in names:
            tried = [row for row in choose.average_settings(rows) if row["method"] == choose.method_slug(name)]
            chosen = choose.choose_settings(rows, choose.method_slug(name))
            at_length = [row["accuracy"] for row in tried if row["steps"] == steps]
            assert chosen["accuracy"] == max(at_length)
            assert f"--lr {chosen['lr']:g} " in flags
    lines = choose.format_choices(rows).splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_length_is_chosen_by_settings_tried_at_each() -> None:
    def row(steps: int, lr: float, accuracy: float) -> dict[str, object]:
        return {
            "method": "p1",
            "steps": steps,
            "lr": lr,
            "lam": 0.5,
            "augment": "flip",
            "accuracy": accuracy,
            "nll": 1.0,
        }

    assert choose.choose_length([row(5, 0.1, 0.5), row(10, 0.1, 0.6), row(5, 0.2, 0.9)]) == 10


def test_ties_of_settings_are_broken_by_likelihood() -> None:
    rows = [
        {"method": "p1", "steps": 5, "lr": lr, "lam": 0.5, "augment": "flip", "accuracy": 0.5, "nll": nll}
        for lr, nll in ((0.1, 2.0), (0.2, 1.0), (0.3, 3.0))
    ]
    assert choose.choose_settings(rows, "p1")["lr"] == 0.2


def test_gain_and_error_are_of_the_paired_difference() -> None:
    after, before = np.array([1.0, 1, 0, 1]), np.array([0.0, 1, 1, 0])
    gain, error = table.paired_gain(after, before)
    assert gain == 0.25
    assert error == pytest.approx(np.std([1, 0, -1, 1], ddof=1) / 2)


def test_tables_have_every_method_and_ranked_source(searched: Path) -> None:
    folder = searched.parent
    text = table.format_table(folder, [])
    assert [line.split(" | ")[0] for line in text.splitlines()[2:]] == [
        "| labels-only",
        "| single",
        "| nearest",
        "| p1",
    ]
    rows = fits.compare_sources(searched)
    assert {row["source"] for row in rows} == {"alpha", "beta", "gamma"}
    single, base = (table.load_students(searched)[name].share.mean() for name in ("single", "labels-only"))
    assert np.mean([row["gain"] for row in rows]) == pytest.approx(single - base)
    assert "of the sources that do not fit" in fits.format_table(folder)


def test_source_that_has_seen_the_task_must_be_excluded(tmp_path: Path) -> None:
    place = workspaces.make(tmp_path / "task", upto="rank")
    workspaces.edit(place, 'trained_on = ["shapes"]', 'trained_on = ["patterns"]')
    rows = [{"source": "alpha", "rank": 1, "excluded": None}, {"source": "beta", "rank": 2, "excluded": None}]
    files.write_json(place / "rank.json", {"data": rows})
    with pytest.raises(SystemExit, match="alpha has seen the task"):
        fits.check_excluded(place)
    (place / "rank.json").write_text(workspaces.run("rank", "--json", workspace=place).out)
    assert fits.check_excluded(place) == ["alpha, trained on patterns"]


def test_search_gives_methods_equal_budgets(tmp_path: Path) -> None:
    commands = called(tmp_path, 'search mnist "$2/few/mnist/search" ' + " ".join(METHODS))
    assert all("-C " + str(tmp_path / "few/mnist/search") in line for line in commands), "never the task itself"
    for mark in ("--lam 1 ", "fixmatch", "--each-source", "--draws 1", "--weighting nearest", "--weighting p=1"):
        assert sum(mark in f"{line} " for line in commands) == 4, mark
    assert Counter(line.split("--steps ")[1].split()[0] for line in commands) == {"500": 4, "1000": 12}


def test_final_students_differ_only_in_the_choice(tmp_path: Path) -> None:
    line = 'train_students "$2/few/mnist" "0 1" 3 "--steps 5 --lr 0.1 --augment crop" '
    commands = called(tmp_path, line + " ".join(METHODS))
    assert [command.split()[0] for command in commands] == ["distill", "finetune", "distill", "distill"]
    for command in commands:
        for flag in ("--steps 5", "--lr 0.1", "--batch-size 32", "--schedule cosine", "--seed 0 --seed 1", "--augment"):
            assert flag in command
    assert "--weighting nearest --draws 3 --weighting p=1 --weighting inverse:form=complement" in commands[-1]


def called(folder: Path, line: str) -> list[str]:
    """The zoo commands that a line of bash runs; the chosen length is 1000."""
    script = (
        f'source "{HERE}/tasks.sh"; zoo() {{ echo "$@" >> "{folder}/log"; }}\n'
        f'python3() {{ case "$*" in *grid*) echo "{GRID}" ;; *length*) echo 1000 ;; esac; }}\n{line}'
    )
    result = subprocess.run(["bash", "-c", script, "_", "small", str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return (folder / "log").read_text().splitlines()


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
        settings = config.load(tmp_path)
        names = {settings.task.name, *settings.task.aliases}
        leaking = {source.name for source in settings.sources if names & set(source.trained_on)}
        assert leaking == expected
        assert settings.task.labelled == "5%"
        assert not set(settings.task.train) & set(settings.task.test)


@pytest.mark.parametrize("family", targets.FAMILIES)
def test_grids_have_equal_budgets(family: str) -> None:
    grid = [setting.split(":") for setting in targets.FAMILIES[family].grid]
    assert len({tuple(setting[:3]) for setting in grid}) == len({tuple(setting[3:]) for setting in grid}) == 6


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
