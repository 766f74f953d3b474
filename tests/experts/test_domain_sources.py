"""A folder of several domains as that many sources: extracted, ranked, fine-tuned, distilled."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.experts.single_workspace import expert, make
from tests.pipeline.test_bytes import contents
from tests.workspaces import CLASSES, edit, run
from zoo_cli.config import Source
from zoo_cli.images import view_batches
from zoo_cli.models import extraction, loading, weights
from zoo_cli.store import feature_files

DOMAINS = ("birds", "cars", "more")
SELECTED = [word for name in DOMAINS for word in ("--source", f"adapter#{name}")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a shared and an adapted expert, three domains each, that are its only sources."""
    workspace = make(tmp_path_factory.mktemp("domains") / "task")
    for number, name in enumerate(DOMAINS):
        shutil.copytree(workspace / "images", workspace / name)
        shutil.rmtree(workspace / name / CLASSES[number]) if number else None
    data = [word for name in DOMAINS[1:] for word in ("--data", f"{name}=folder:{workspace / name}")]
    for kind in ("shared", "adapter"):
        result = expert(workspace, *data, "--multi", kind, "--steps", "45", out=f"zoo/{kind}", data="birds")
        assert result.code == 0, result.err
    task = (workspace / "zoo.toml").read_text().split("[[source]]")[0]
    sources = [f'[[source]]\nmodel = "file:zoo/{kind}#{name}"\n' for kind in ("shared", "adapter") for name in DOMAINS]
    # The code that the folders name runs as that of the student, which the workspace names.
    (workspace / "zoo.toml").write_text(task + "\n".join(sources))
    return workspace


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "task")


def ok(*arguments: str, workspace: Path) -> Any:
    result = run(*arguments, "--json", workspace=workspace)
    assert result.code == 0, result.err
    return result.data


def test_domains_are_extracted_in_one_load_and_decode(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads, decoded, passes = [], [0], [0]
    read, view, call = weights.read_weights, view_batches.load_views, extraction.FeatureRunner.__call__

    def count_load(path: Path, *rest: Any) -> Any:
        loads.append(path.parent.name)
        return read(path, *rest)

    def count_images(getters: Any, *rest: Any) -> Any:
        for each in view(getters, *rest):
            decoded[0] += 1
            yield each

    def count_pass(self: Any, images: Any) -> Any:
        passes[0] += 1
        return call(self, images)

    monkeypatch.setattr(weights, "read_weights", count_load)
    monkeypatch.setattr(view_batches, "load_views", count_images)
    monkeypatch.setattr(extraction.FeatureRunner, "__call__", count_pass)
    names = [word for kind in ("shared", "adapter") for name in DOMAINS for word in ("--source", f"{kind}#{name}")]
    ok("extract", *names, workspace=workspace)
    assert sorted(loads) == ["adapter", "shared"]
    assert decoded[0] == 36
    assert passes[0] == 4  # the shared body once, and each domain of the other


def test_shared_domains_are_what_each_is_alone(workspace: Path) -> None:
    together = shutil.copytree(workspace, workspace.parent / "together")
    ok("extract", workspace=together)
    for name in DOMAINS:
        ok("extract", "--source", f"shared#{name}", workspace=workspace)
        folders = [each / f"features/source=shared#{name}" for each in (workspace, together)]
        assert contents(folders[0]) == contents(folders[1])
        outputs = feature_files.load_outputs(folders[1])
        model = loading.load_model(Source("alone", f"file:zoo/shared#{name}"), workspace)
        assert outputs.logits is not None
        assert outputs.logits.shape[1] == model.classes == (3 if name == "birds" else 2)


def test_shared_domains_tie_in_the_ranking(workspace: Path) -> None:
    rows = {row["source"]: row for row in ok("rank", "--metric", "lfc", workspace=workspace)}
    assert len({rows[f"shared#{name}"]["value"] for name in DOMAINS}) == 1
    assert len({rows[f"adapter#{name}"]["value"] for name in DOMAINS}) == 3
    assert len({rows[f"shared#{name}"]["rank"] for name in DOMAINS}) == 1


def test_own_and_co_trained_targets_are_left_out(workspace: Path) -> None:
    edit(workspace, 'name = "patterns"', 'name = "task"\naliases = ["cars"]')
    excluded = {row["source"]: row["excluded"] for row in ok("rank", workspace=workspace)}
    for kind in ("shared", "adapter"):
        reasons = [excluded[f"{kind}#{name}"] for name in DOMAINS]
        assert reasons == ["co-trained on cars", "trained on cars", "co-trained on cars"]


def test_domain_similarity_reads_the_means_of_each(workspace: Path) -> None:
    rows = ok("score", "--metric", "domain-similarity:min_images=2", "--source", "adapter#cars", workspace=workspace)
    assert [row["status"] for row in rows if row["source"] == "adapter#cars"] == ["ok"]


def test_a_domain_is_finetuned_and_distilled(workspace: Path) -> None:
    short = ("--steps", "2", "--batch-size", "8")
    ok("finetune", "adapter#cars", *short, workspace=workspace)
    run_record = json.loads((workspace / "runs/finetune-adapter#cars-s0/run.json").read_text())
    assert {"file zoo/adapter/config.json", "file zoo/adapter/model.safetensors"} <= set(run_record["inputs"])
    folder = workspace / "zoo/adapter"
    ok("finetune", f"file:{folder}#birds", *short, "--name", "typed", workspace=workspace)
    model = loading.load_model(Source("run", "file:runs/typed"), workspace)
    assert model.architecture.model == "python:models.py:normed"
    words = ("--source", "shared#birds", *short)
    ok("distill", "--student", f"file:{folder}#more", *words, "--name", "a", workspace=workspace)
    spec = f"file:{folder}#more"
    ok("distill", "--student", spec, "--init", f"file:{folder}#cars", *words, "--name", "b", workspace=workspace)


def test_unknown_domain_is_refused_with_the_nearest(workspace: Path) -> None:
    for words in (("extract", "--source"), ("finetune",)):
        result = run(*words, f"file:{workspace / 'zoo/adapter'}#brids", workspace=workspace)
        assert result.code == 2
        assert "did you mean birds? one of: birds, cars, more" in result.error
    result = run("extract", "--source", f"file:{workspace / 'zoo/adapter'}", workspace=workspace)
    assert "has 3 domains; name one: file:" in result.error
    assert result.code == 2


def test_domain_of_another_folder_is_refused(workspace: Path) -> None:
    assert (
        expert(workspace, "--steps", "1", "--model", f"file:{workspace / 'zoo/adapter'}#cars", out="zoo/one").code == 0
    )
    result = run("extract", "--source", f"file:{workspace / 'zoo/one'}#cars", workspace=workspace)
    assert result.code == 2
    assert "has no domains; drop #cars" in result.error


def test_folder_with_a_hash_in_its_name_is_a_folder(workspace: Path) -> None:
    (workspace / "zoo/shared").rename(workspace / "zoo/a#b")
    model = loading.load_model(Source("x", "file:zoo/a#b#birds"), workspace)
    assert model.class_names == CLASSES


def test_best_is_chosen_among_the_domains(workspace: Path) -> None:
    short = ("--steps", "2", "--batch-size", "8", "--metric", "lfc", "--name", "chosen")
    among = str(workspace / "zoo/adapter")
    ranked = ok("rank", "--metric", "lfc", *SELECTED, workspace=workspace)
    before = contents(workspace / "features")
    result = run("finetune", "best", "--among", among, *short, "--json", workspace=workspace)
    assert result.code == 0, result.err
    assert f"best is {ranked[0]['source']}" in result.err
    assert json.loads((workspace / "runs/chosen/run.json").read_text())["asked"]["among"] == "adapter"
    assert contents(workspace / "features") == before


def test_undeclared_domains_are_chosen_among(workspace: Path) -> None:
    edited = (workspace / "zoo.toml").read_text().split("[[source]]")[0]
    (workspace / "zoo.toml").write_text(edited)
    words = ("--among", str(workspace / "zoo/adapter"), "--steps", "2", "--metric", "lfc")
    plan = run("finetune", "best", *words, "--dry-run", workspace=workspace)
    assert (plan.code, "the best source, after zoo rank" in plan.err) == (0, True)
    ok("finetune", "best", *words, "--name", "chosen", workspace=workspace)
    record = json.loads((workspace / "runs/chosen/run.json").read_text())
    assert record["source"] in [f"adapter#{name}" for name in DOMAINS]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("alpha",), "--among names the domains of which the best one is chosen"),
        (("best", "--among", "images"), "images has no domains"),
    ],
)
def test_wrong_choice_among_domains_is_refused(
    made: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(made)
    flags = () if "--among" in words else ("--among", "zoo/adapter")
    result = run("finetune", *words, *flags, workspace=made)
    assert (result.code, result.error.split(";")[0]) == (2, message)


def test_reference_is_a_domain_of_a_folder(workspace: Path) -> None:
    ok("score", "--metric", "lfc", workspace=workspace)
    rows = ["source,target,accuracy"]
    rows += [
        f"{kind}#{name},patterns,0.{5 + number}"
        for kind in ("shared", "adapter")
        for number, name in enumerate(DOMAINS)
    ]
    (workspace / "accuracies.csv").write_text("\n".join(rows) + "\n")
    words = (str(workspace), str(workspace / "accuracies.csv"))
    by_name = ok("evaluate", "ranking", *words, "--reference", "adapter#cars", workspace=workspace)
    by_folder = ok("evaluate", "ranking", *words, "--reference", f"{workspace}/zoo/adapter#cars", workspace=workspace)
    assert by_folder == by_name
    text = (workspace / "zoo.toml").read_text()
    text = text.replace('model = "file:zoo/adapter#cars"', 'name = "general"\nmodel = "file:zoo/adapter#cars"')
    (workspace / "zoo.toml").write_text(text)
    (workspace / "accuracies.csv").write_text("\n".join(rows).replace("adapter#cars", "general") + "\n")
    result = run("evaluate", "ranking", *words, "--reference", f"{workspace}/zoo/adapter#cars", workspace=workspace)
    assert result.code == 0, result.err
    unknown = run("evaluate", "ranking", *words, "--reference", f"{workspace}/zoo/adapter#nose", workspace=workspace)
    assert unknown.code == 2


def test_verify_checks_the_folders_of_sources(workspace: Path) -> None:
    assert not ok("verify", workspace=workspace)["findings"]
    path = workspace / "zoo/adapter/domains/cars/source_means.parquet"
    path.write_bytes(path.read_bytes()[:-1])
    (workspace / "zoo/shared/images.sha256").unlink()
    result = run("verify", "--json", workspace=workspace)
    assert result.code == 3
    names = [Path(row["path"]).relative_to(workspace).as_posix() for row in result.data["findings"]]
    assert names == ["zoo/adapter/domains/cars/source_means.parquet", "zoo/shared/images.sha256"]


def test_accuracy_of_an_expert_is_that_of_each_domain(made: Path) -> None:
    rows = ok("evaluate", "accuracy", str(made / "zoo" / "adapter"), workspace=made)
    parts = [str(made / "zoo" / "adapter" / "domains" / name) for name in DOMAINS]
    assert [row["run"] for row in rows] == parts
    assert rows == ok("evaluate", "accuracy", *parts, workspace=made)
