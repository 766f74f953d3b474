"""Inputs that changed since an output was made: exit 2, what differs, and the command that fixes it."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from tests.workspaces import edit, run
from zoo_cli import config
from zoo_cli.config import Source
from zoo_cli.errors import ContractError
from zoo_cli.models import loading
from zoo_cli.models.recorded_weights import confirm_weights
from zoo_cli.store import files

Make = Callable[..., Path]
QUICK = ("--steps", "1", "--batch-size", "8", "--augment", "none")
COMMANDS = [("extract",), ("score",), ("rank",), ("pseudo-label",), ("distill", *QUICK)]


def other_weights(place: Path) -> None:
    save_file(
        {name: value + 1 for name, value in load_file(place / "alpha.safetensors").items()}, place / "alpha.safetensors"
    )


def other_code(place: Path) -> None:
    with (place / "models.py").open("a", encoding="utf-8") as stream:
        stream.write("# another version\n")


def other_view(place: Path) -> None:
    text = (place / "zoo.toml").read_text(encoding="utf-8")
    (place / "zoo.toml").write_text(text.replace("input_size = 12", "input_size = 10"), encoding="utf-8")


CHANGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "another split": (
        lambda place: edit(place, 'labelled = "50%"', 'labelled = "25%"'),
        "manifest.parquet was made from other inputs: labelled (50% there, 25% requested)",
        "split",
    ),
    "another seed": (
        lambda place: edit(place, 'labelled = "50%"', 'labelled = "50%"\nseed = 1'),
        "manifest.parquet was made from other inputs: seed (0 there, 1 requested)",
        "split",
    ),
    "another weight file": (
        other_weights,
        "source=alpha was made from other inputs: weights_sha256",
        "extract --source alpha",
    ),
    "another preprocessing": (other_view, "input_size (12 there, 10 requested)", "extract --source alpha"),
    "other code": (other_code, "source=alpha was made from other inputs: code_sha256", "extract --source alpha"),
}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.parametrize("change", CHANGES)
def test_stale_input_is_refused_by_every_reader(workspace: Make, change: str, command: tuple[str, ...]) -> None:
    alter, message, maker = CHANGES[change]
    place = workspace(upto="pseudo-label")
    alter(place)
    result = run(*command, workspace=place)
    assert result.code == 2
    assert message in result.error
    assert result.error.endswith(f"; zoo {maker} --overwrite makes it again")


def follow_hints(place: Path, command: tuple[str, ...]) -> list[str]:
    """Run the commands that errors suggest until a command succeeds; the commands."""
    commands: list[str] = []
    for _ in range(12):
        result = run(*command, workspace=place)
        if result.code == 0:
            return commands
        assert result.code == 2, result.err
        hint = result.error.rpartition("; ")[2]
        if hint == "use --overwrite to make it again":
            assert run(*command, "--overwrite", workspace=place).code == 0
            commands.append("--overwrite")
            continue
        suggested = hint.removeprefix("zoo ").removesuffix(" makes it again")
        commands.append(suggested)
        assert run(*suggested.split(), workspace=place).code == 0, suggested
    raise AssertionError(commands)


def test_following_the_hints_ends_with_a_student(workspace: Make) -> None:
    place = workspace(upto="pseudo-label")
    assert run("distill", *QUICK, workspace=place).code == 0
    other_weights(place)
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert follow_hints(place, ("distill", *QUICK)) == [
        "split --overwrite",
        "extract --source alpha --overwrite",
        "score --metric parc --overwrite",
        "pseudo-label --overwrite",
        "--overwrite",
    ]


def test_splitting_again_makes_no_features_stale(workspace: Make) -> None:
    place = workspace(upto="extract")
    before = {path: path.read_bytes() for path in place.glob("features/*/*/*.parquet")}
    edit(place, 'labelled = "50%"', 'labelled = "25%"')
    assert run("split", "--overwrite", workspace=place).code == 0
    result = run("extract", workspace=place)
    assert result.code == 0
    assert result.err.count("is up to date") == 4
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    "command",
    [
        ("extract", "--source", "alpha", "--gradients"),
        ("extract", "--source", "alpha", "--views", "1"),
        ("finetune", "alpha", *QUICK),
        ("distill", "--lam", "1", "--student", "alpha", "--init", "alpha", *QUICK),
    ],
    ids=["gradients", "views", "finetune", "init"],
)
@pytest.mark.parametrize("first", ["extract", None])
def test_weights_of_the_first_use_are_those_of_every_use(
    workspace: Make, command: tuple[str, ...], first: str | None
) -> None:
    place = workspace(upto=first or "split")
    if first is None:
        assert run("finetune", "alpha", *QUICK, "--name", "first", workspace=place).code == 0
    other_weights(place)
    result = run(*command, workspace=place)
    assert result.code == 2
    message, _, hint = result.error.rpartition("; ")
    assert "weights" in message
    assert "zoo extract --source alpha --overwrite" in hint
    assert run("extract", "--source", "alpha", "--overwrite", workspace=place).code == 0
    assert run(*command, workspace=place).code == 0


def test_download_that_was_damaged_later_is_named(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = workspace()
    monkeypatch.setattr(torch.hub, "_hub_dir", str(place / "hub"))
    file = place / "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"
    file.parent.mkdir(parents=True)
    settings, source = config.load(place), Source("net", "torchvision:squeezenet1_1.IMAGENET1K_V1")
    for damaged in (False, True):
        torch.save(torchvision.models.squeezenet1_1().state_dict(), file)
        model = loading.load_model(source, place)
        with (
            pytest.raises(ContractError, match=r"b8a52dc0\.pth is damaged: its sha256 does not begin with")
            if damaged
            else contextlib.nullcontext()
        ):
            confirm_weights(settings, model)


def test_weights_are_recorded_in_workspaces_alone(workspace: Make) -> None:
    place = workspace(upto="split")
    command = ("finetune", "alpha", *QUICK, "--dry-run")
    assert run(*command, workspace=place).code == 0
    assert not (place / "sources").exists()
    assert run(*command[:-1], workspace=place).code == 0
    record = json.loads((place / "sources/alpha.json").read_text(encoding="utf-8"))
    assert record["weights_sha256"] == files.digest(place / "alpha.safetensors")
    assert run("finetune", "beta", *QUICK, workspace=place).code == 0
    assert not (place / "sources/beta.json").exists(), "its weights come from the seed"
    (place / "sources/alpha.json").write_text("{", encoding="utf-8")
    broken = run("finetune", "alpha", *QUICK, "--name", "second", workspace=place)
    assert broken.code == 3
    assert "sources/alpha.json" in broken.error


def test_other_precision_is_stale(workspace: Make) -> None:
    result = run("extract", "--precision", "bf16", workspace=workspace(upto="extract"))
    assert result.code == 2
    assert "precision (fp32 there, bf16 requested)" in result.error


def test_outputs_outlive_deleted_weights(workspace: Make) -> None:
    place = workspace(upto="extract")
    (place / "alpha.safetensors").unlink()
    assert run("rank", workspace=place).code == 0
    result = run("extract", "--source", "alpha", "--overwrite", workspace=place)
    assert result.code == 2
    assert 'source alpha: no weights file "alpha.safetensors"' in result.error
    # Outputs that could not be remade were not removed.
    assert run("rank", workspace=place).code == 0


def test_run_with_other_options_is_refused_and_kept(workspace: Make) -> None:
    place = workspace(upto="pseudo-label")
    assert run("distill", *QUICK, "--name", "mine", workspace=place).code == 0
    before = (place / "runs/mine/model.safetensors").read_bytes()
    result = run("distill", *QUICK, "--name", "mine", "--lr", "0.5", workspace=place)
    assert result.code == 2
    assert "runs/mine was made from other inputs: lr (0.01 there, 0.5 requested)" in result.error
    assert (place / "runs/mine/model.safetensors").read_bytes() == before
    assert "runs/mine is up to date" in run("distill", *QUICK, "--name", "mine", workspace=place).err
    strange = run("distill", *QUICK, "--out", str(place / "images"), workspace=place)
    assert strange.code == 2
    assert "is not a run folder and not empty" in strange.error


@pytest.mark.parametrize(
    ("artifact", "command", "tag"),
    [
        ("manifest.parquet", ("rank",), "zoo.manifest"),
        ("scores/parc/alpha.parquet", ("rank",), "zoo.scores"),
        ("features/source=beta/data=train/part-00000-of-00001.parquet", ("score", "--metric", "cka"), "zoo.features"),
        ("pseudo/source=beta/part-00000-of-00001.parquet", ("distill", *QUICK), "zoo.pseudo"),
    ],
)
def test_newer_schema_is_refused(workspace: Make, artifact: str, command: tuple[str, ...], tag: str) -> None:
    place = workspace(upto="pseudo-label")
    table = pq.read_table(place / artifact)
    header = json.loads(table.schema.metadata[b"zoo"])
    assert header["schema"] == f"{tag}/1"
    header["schema"] = f"{tag}/2"
    pq.write_table(table.replace_schema_metadata({b"zoo": json.dumps(header).encode()}), place / artifact)
    result = run(*command, workspace=place)
    assert result.code == 3
    assert f"{artifact} is a {tag}/2, not" in result.error
    assert "a newer zoo may have written it" in result.error


def sources(**weights: object) -> str:
    return json.dumps({"sources": [{"source": name, "weight": weight} for name, weight in weights.items()]})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (sources(alpha=-1, beta=2, gamma=0), 'the weight of source "alpha" is -1'),
        (sources(alpha=0, beta=0, gamma=0), "all weights in the weights file are 0"),
        (sources(alpha=1, beta=1, gamma=1, delta=1), 'has a source "delta" that is not used here'),
        (sources(alpha=1, beta=1), 'has no weight for source "gamma"'),
        (sources(alpha="1", beta=1, gamma=1), "which is not a number"),
        (sources(alpha=float("nan"), beta=1, gamma=1), "NaN is not valid JSON"),
        (sources(alpha=1, beta=1, gamma=1).replace("1}", "1e999}", 1), "1e999 is not finite"),
        ("[1, 2]", "has the wrong structure"),
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("", "is not valid JSON"),
    ],
    ids=["negative", "zero", "unknown", "missing", "text", "NaN", "infinite", "list", "truncated", "deep", "empty"],
)
def test_invalid_weights_are_refused(workspace: Make, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "weights.json"
    path.write_text(text, encoding="utf-8")
    result = run("rank", "--weighting", f"file:{path}", workspace=workspace(upto="rank"))
    assert result.code == 3
    assert result.error.startswith(str(path))
    assert message in result.error


def test_missing_weights_file_is_wrong_usage(workspace: Make) -> None:
    place = workspace(upto="rank")
    result = run("distill", *QUICK, "--weighting", "file:nowhere.json", workspace=place)
    assert result.code == 2
    assert "nowhere.json" in result.error
    assert run("rank", "--weighting", f"file:{place}/weights.json", workspace=place).code == 0
