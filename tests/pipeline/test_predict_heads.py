"""`zoo predict --heads`: the stored pool's answers for new images, and pools that cannot be asked."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import zoo_cli as zoo
from tests.workspaces import CLASSES, edit, make, run, write_class_names
from zoo_cli import config, registry, specs
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels
from zoo_cli.images import decoding
from zoo_cli.store import feature_files, feature_store
from zoo_cli.store.manifest import load_manifest

Array = np.ndarray
SOURCES = ("alpha", "beta", "gamma")
FORMULAS = ("kernel", "logmean", "best")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extracted workspace with all pools of ridge heads."""
    place = make(tmp_path_factory.mktemp("heads") / "task", upto="extract")
    for name in registry.POOLS:
        result = run("pseudo-label", "--head", "ridge", "--pool", name, workspace=place)
        assert result.code == 0, result.err
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(template, tmp_path / "task"))


def ask(place: Path, pool: str, *arguments: str, data: str = "images") -> dict[str, Array]:
    """The probabilities (C,) of every image, by id."""
    out = place / "out.parquet"
    flags = ("--heads", "--pool", pool, "--data", f"folder:{place / data}", "--out", str(out), *arguments)
    result = run("predict", *flags, workspace=place)
    assert result.code == 0, result.err
    table = pq.read_table(out).to_pydict()
    assert table["class"] == [CLASSES[np.argmax(probs)] for probs in table["probs"]]
    assert "logits" not in table
    return {name: np.array(probs) for name, probs in zip(table["id"], table["probs"], strict=True)}


def stored_features(place: Path) -> tuple[Array, Array, list[Array]]:
    """Ids, labels and the features of every source on the train part."""
    images = load_manifest(place / "manifest.parquet", place)
    rows = images.where(split=("labelled", "unlabelled"))
    outputs = [feature_files.load_outputs(place / f"features/source={s}", ids=images.ids[rows]) for s in SOURCES]
    return images.ids[rows], images.labels[rows], [x.embedding for x in outputs if x.embedding is not None]


@pytest.mark.parametrize("name", FORMULAS)
def test_train_images_are_answered_as_by_the_pool(template: Path, name: str) -> None:
    ids, labels, arrays = stored_features(template)
    sources, targets = [Features.of(x) for x in arrays], TargetLabels.of(labels, len(CLASSES))
    heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
    pool = pool_heads(specs.resolve("pool", name), sources, heads, targets)
    answers = ask(template, name)
    np.testing.assert_allclose([answers[i] for i in ids], pool.probabilities, atol=1e-6)
    stored = feature_files.load_outputs(template / f"pseudo/head=ridge-{name}")
    np.testing.assert_allclose([answers[i] for i in stored.ids], stored.probs, atol=1e-3)
    assert len(answers) == 36  # the test images too, which the sources had not seen


@pytest.mark.parametrize("name", ["spread", "product"])
def test_neighbours_are_the_nearest_train_images(template: Path, name: str) -> None:
    ids, _, arrays = stored_features(template)
    stored = feature_files.load_outputs(template / f"pseudo/head=ridge-{name}", ids=ids)
    assert stored.probs is not None
    record = run("pseudo-label", "--head", "ridge", "--pool", name, "--json", workspace=template)
    weights = [row["weight"] for row in record.data]
    # The features of the train images as columns side by side; a train image as a new one is its own neighbour.
    wide = np.hstack(
        [
            np.sqrt(weight) * (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1) / np.sqrt((x.std(0) > 0).sum())
            for x, weight in zip((x.astype(np.float64) for x in arrays), weights, strict=True)
        ]
    )
    cosines = wide @ wide.T / np.outer(*[np.linalg.norm(wide, axis=1)] * 2)
    answers = ask(template, name)
    for row, sample in enumerate(ids):
        near = np.argsort(-cosines[row])[:10]
        mass = np.maximum(cosines[row][near], 0) ** 3 @ stored.probs[near].astype(np.float64)
        np.testing.assert_allclose(answers[sample], mass / mass.sum(), atol=1e-4)


@pytest.mark.parametrize("name", registry.POOLS)
def test_order_and_batches_change_no_answer(place: Path, name: str) -> None:
    whole = ask(place, name)
    (place / "again").mkdir()
    for number, file in enumerate(sorted((place / "images").rglob("*.png"), key=lambda file: file.name)):
        shutil.copy(file, place / "again" / f"{number:02}-{file.parent.name}-{file.name}")
    again = ask(place, name, "--batch-size", "5", data="again")
    for sample, probs in again.items():
        _, folder, file = sample.removeprefix("new/").split("-")
        np.testing.assert_allclose(probs, whole[f"train/{folder}/{file}"], atol=1e-6)


def test_images_are_decoded_once_for_all_sources(template: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, calls = decoding._decoded, []

    def counted(*arguments: object) -> object:
        calls.append(arguments)
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(decoding, "_decoded", counted)
    ask(template, "kernel")
    assert len(calls) == 36


def test_formulas_need_no_features_of_the_train_images(place: Path) -> None:
    before = {name: ask(place, name) for name in FORMULAS}
    for folder in (place / "features").glob("source=*/data=*"):
        shutil.rmtree(folder)
    for name in FORMULAS:
        answers = ask(place, name)
        assert all(np.array_equal(answers[sample], probs) for sample, probs in before[name].items())
    result = run("predict", "--heads", "--data", f"folder:{place}/images", workspace=place)
    assert result.code == 2
    assert "no parquet file at" in result.error


def test_heads_of_another_pool_do_not_matter(place: Path) -> None:
    before = ask(place, "logmean")
    assert run("pseudo-label", "--head", "ncm", "--pool", "best", workspace=place).code == 0
    after = ask(place, "logmean")
    assert all(np.array_equal(after[sample], probs) for sample, probs in before.items())
    assert not np.allclose(list(ask(place, "best", "--head", "ncm").values()), list(ask(place, "best").values()))


def test_student_and_sources_without_zoo_toml_are_run(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    flags = ("--head", "ridge", "--pool", "kernel", "--with-student")
    assert run("pseudo-label", *flags, workspace=place).code == 0
    edit(place, 'name = "beta"', 'name = "other"')  # its features stay, and how it was declared
    assert len(ask(place, "kernel", "--with-student")) == 36


def test_class_without_labels_is_never_answered(tmp_path: Path) -> None:
    place = make(tmp_path / "task", labelled="2")
    for name in ("kernel", "product"):
        assert run("pseudo-label", "--head", "ridge", "--pool", name, workspace=place).code == 0
        answers = np.array(list(ask(place, name).values()))
        assert (answers.max(axis=0) == 0).sum() == 1


def refused(place: Path, *arguments: str) -> str:
    result = run("predict", "--heads", "--data", f"folder:{place}/images", *arguments, workspace=place)
    assert result.code == 2, result.err
    return result.error


def test_missing_pool_names_what_makes_it(place: Path) -> None:
    error = refused(place, "--head", "ncm", "--pool", "kernel")
    assert f"no pool of heads at {place}/pseudo/head=ncm-kernel; zoo pseudo-label --head ncm --pool kernel" in error
    assert "stored are head=ridge-best, head=ridge-kernel" in error
    shutil.rmtree(place / "pseudo")
    assert refused(place).endswith("zoo pseudo-label --head ridge makes it")
    assert "did you mean ridge?" in refused(place, "--head", "rigde")
    assert "did you mean best?" in refused(place, "--pool", "bets")


def test_pool_of_other_labels_or_classes_is_stale(place: Path) -> None:
    write_class_names(place, ["azure", "green", "red"])
    assert "was made from other inputs: labels; zoo pseudo-label --head ridge --overwrite" in refused(place)
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    assert "was made from other inputs: labels" in refused(place)


def test_source_that_changed_is_stale(place: Path) -> None:
    edit(
        place,
        "args = { width = 7, classes = 5 }\ninput_size = 12",
        "args = { width = 7, classes = 5 }\ninput_size = 16",
    )
    error = refused(place)
    assert "features/source=gamma was made from other inputs: " in error
    assert error.endswith("zoo extract --source gamma --overwrite makes it again")


def test_source_of_which_only_outputs_are_known_is_named(tmp_path: Path) -> None:
    place = make(tmp_path / "task", upto="extract")
    shutil.copytree(place / "features/source=beta", place / "theirs")
    (place / "theirs/_source.json").unlink()
    with (place / "zoo.toml").open("a", encoding="utf-8") as file:
        file.write('\n[[source]]\nname = "remote"\nmodel = "features:theirs"\n')
    assert run("pseudo-label", "--head", "ridge", workspace=place).code == 0
    assert "only outputs are known of remote, which cannot be run on new images" in refused(place)
    others = [word for name in SOURCES for word in ("--source", name)]
    assert run("pseudo-label", "--head", "ridge", *others, workspace=place).code == 0
    assert len(ask(place, "product", *others)) == 36


def test_pool_with_the_student_is_one_of_its_own(place: Path) -> None:
    assert run("pseudo-label", "--head", "ridge", "--pool", "kernel", "--with-student", workspace=place).code == 0
    with_student, without = ask(place, "kernel", "--with-student"), ask(place, "kernel")
    assert any(not np.array_equal(with_student[name], without[name]) for name in without)


def test_pool_without_its_formula_is_made_again(place: Path) -> None:
    folder = place / "pseudo/head=ridge-kernel"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "_pool.safetensors").unlink()
    assert "does not say how its pool answers for new images; zoo pseudo-label --head" in refused(
        place, "--pool", "kernel"
    )
    assert run("pseudo-label", "--head", "ridge", "--pool", "kernel", workspace=place).code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("damage", ["torn", "other"])
def test_damaged_formula_breaks_the_contract(place: Path, damage: str) -> None:
    path = place / "pseudo/head=ridge-kernel/_pool.safetensors"
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:50])
    else:
        shutil.copy(place / "pseudo/head=ridge-best/_pool.safetensors", path)
    result = run("predict", "--heads", "--pool", "kernel", "--data", f"folder:{place}/images", workspace=place)
    assert result.code == 3
    assert "_pool.safetensors" in result.error


def test_api_asks_the_pool(place: Path) -> None:
    answers = ask(place, "product")
    result = zoo.Workspace(place).predict(f"folder:{place}/images", device="cpu")
    assert all(np.array_equal(row.probs, answers[row.id]) for row in result.rows)
    with pytest.raises(zoo.ZooError, match="no pool of heads"):
        zoo.Workspace(place).predict(f"folder:{place}/images", head="ncm")


def test_unreadable_images_are_left_out(place: Path) -> None:
    whole = ask(place, "product")
    (place / "images/red/00.png").write_bytes(b"")
    answers = ask(place, "product", "--max-errors", "1")
    assert set(whole) - set(answers) == {"train/red/00.png"}
    assert all(np.allclose(whole[sample], probs, atol=1e-6) for sample, probs in answers.items())
    settings = config.load(place)
    assert feature_store.is_complete(settings, settings.find_source("alpha"), load_manifest(settings.manifest, place))
