"""Wrong names and numbers: exit 2, one line, the nearest name, and no work is done."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.workspaces import edit, run

Make = Callable[..., Path]


def names(workspace: Path) -> set[str]:
    return {path.name for path in workspace.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (("score", "--metric", "prac"), "did you mean parc?"),
        (("rank", "--metric", "parcc"), "did you mean parc?"),
        (("rank", "--weighting", "pover:p=2"), "did you mean power?"),
        (("rank", "--weighting", "topk:K=2"), "one of: k, p"),
        (("rank", "--weighting", "p=much"), "expected a number"),
        (("rank", "--weighting", "p=nan"), "expected a number"),
        (("rank", "--weighting", "p=2,p=3"), "given twice"),
        (("distill", "--objective", "cros-task"), "did you mean cross-task?"),
        (("distill", "--augment", "crpo"), "did you mean crop?"),
        (("distill", "--student", "torchvison:resnet18"), "did you mean torchvision?"),
        (("score", "--on", "nose"), "features or probs"),
        (("score", "--metric", "leep", "--on", "features"), "leep reads probs"),
        (("extract", "--source", "torchvison:resnet18"), "did you mean torchvision?"),
        (("split", "--train", "foldr:images"), "did you mean folder?"),
        (("split", "--train", "images"), "write PROVIDER:NAME"),
    ],
    ids=lambda value: " ".join(value[1:]) if isinstance(value, tuple) else "",
)
def test_an_unknown_name_suggests_the_nearest(workspace: Make, arguments: tuple[str, ...], nearest: str) -> None:
    place = workspace()
    before = names(place)
    result = run(*arguments, workspace=place)
    assert result.code == 2
    assert nearest in result.error
    assert names(place) <= before | {"manifest.parquet", "classes.json"}


@pytest.mark.parametrize("command", ["extract", "score", "rank", "pseudo-label", "distill"])
def test_an_unknown_source_suggests_the_nearest(workspace: Make, command: str) -> None:
    result = run(command, "--source", "alhpa", workspace=workspace())
    assert result.code == 2
    assert result.error == 'no source "alhpa"; did you mean alpha? one of: @student, alpha, beta, gamma'


@pytest.mark.parametrize(
    ("old", "new", "nearest"),
    [
        ("labelled =", "labeled =", "labelled"),
        ("[student]", "[studnet]", "student"),
        ("trained_on =", "trainedon =", "trained_on"),
        ('weights = "alpha', 'weight = "alpha', "weights"),
    ],
)
def test_an_unknown_key_suggests_the_nearest(workspace: Make, old: str, new: str, nearest: str) -> None:
    place = workspace()
    edit(place, old, new)
    result = run("split", workspace=place)
    assert result.code == 2
    assert f"did you mean {nearest}?" in result.error
    assert "zoo.toml" in result.error
    assert not (place / "manifest.parquet").exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name = "alpha"', 'name = "beta"'),
        ('name = "alpha"', 'name = "../alpha"'),
        ('name = "alpha"', 'name = "@student"'),
        ('name = "alpha"', "name = 3"),
        ('labelled = "50%"', 'labelled = "50 percent"'),
        ('labelled = "50%"', "labelled = [1]"),
        ('probe = "all"', "probe = 3"),
        ('probe = "all"', 'probe = "most"'),
        ('name = "patterns"', 'name = "patterns"\nseed = "x"'),
        ('name = "patterns"', 'name = "patterns"\ntest = "100%"'),
        ('name = "patterns"', 'name = "patterns'),
    ],
)
def test_wrong_value_is_refused_before_reading_images(workspace: Make, old: str, new: str) -> None:
    place = workspace()
    edit(place, old, new)
    result = run("split", workspace=place)
    assert result.code == 2
    assert result.error
    assert not (place / "manifest.parquet").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("split", "--labelled", "0%"),
        ("split", "--probe-per-class", "1"),
        ("split", "--max-errors", "many"),
        ("split", "--max-errors", "nan"),
        ("split", "--workers", "-1"),
        ("extract", "--batch-size", "0"),
        ("extract", "--max-errors", "-1"),
        ("extract", "--precision", "fp8"),
        ("extract", "--device", "tpu"),
        ("distill", "--steps", "0"),
        ("distill", "--steps", "3", "--epochs", "1"),
        ("distill", "--batch-size", "1"),
        ("distill", "--lam", "2"),
        ("distill", "--lr", "-1"),
        ("distill", "--lr", "nan"),
        ("distill", "--schedule", "cosin"),
        ("distill", "--min-weight", "1"),
        ("distill", "--max-time", "soon"),
        ("distill", "--unlabelled-from", "nowhere"),
        ("distill", "--workers", "-1"),
        ("distill", "--init", "delta"),
        ("distill", "--name", "../outside"),
        ("distill", "--name", "a/b"),
        ("distill", "--name", ""),
        ("distill", "--device", "cuda:x"),
    ],
    ids=" ".join,
)
def test_wrong_flag_is_refused_before_any_work(workspace: Make, arguments: tuple[str, ...]) -> None:
    place = workspace()
    before = names(place)
    result = run(*arguments, workspace=place)
    assert result.code == 2
    assert result.error
    # extract and distill make the manifest first where it is missing.
    assert names(place) <= before | {"manifest.parquet", "classes.json"}


@pytest.mark.parametrize("arguments", [("nonsense",), ("rank", "--nonsense"), ("evaluate", "nonsense"), ("evaluate",)])
def test_unknown_command_or_flag_is_wrong_usage(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.out + result.err
    assert "Traceback" not in result.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
@pytest.mark.parametrize("command", ["extract", "distill"])
def test_missing_cuda_is_refused(workspace: Make, command: str) -> None:
    place = workspace(upto="split")
    result = run(command, "--device", "cuda", workspace=place)
    assert result.code == 2
    assert re.match(r"--device cuda: (torch \S+ is built without CUDA|there is no CUDA device here); ", result.error)
    assert not (place / "features").exists()
    assert not (place / "runs").exists()


def test_wrong_flag_leaves_no_run(workspace: Make) -> None:
    place = workspace(upto="pseudo-label")
    quick = ("--batch-size", "8", "--augment", "none")
    wrong = run("distill", "--steps", "2", "--kd-temperature", "0", *quick, workspace=place)
    assert wrong.code == 2
    right = run("distill", "--steps", "1", *quick, workspace=place)
    assert right.code == 0, right.err


@pytest.mark.parametrize("arguments", [("extract",), ("distill",), ("split",), ("distill", "--lam", "1")])
def test_dry_run_makes_nothing(workspace: Make, arguments: tuple[str, ...]) -> None:
    place = workspace()
    before = names(place)
    result = run(*arguments, "--dry-run", workspace=place)
    assert result.code == 0
    assert "would" in result.err
    assert names(place) == before


def test_source_with_unknown_preprocessing_is_refused(workspace: Make) -> None:
    place = workspace(upto="split")
    result = run("extract", "--source", f"python:{place}/models.py:small", workspace=place)
    assert result.code == 2
    assert "input_size, mean, std not known" in result.error


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def small(: pass", "SyntaxError"),
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("def small(**_): return 3", "returns int"),
        ("def other(): pass", "small"),
    ],
)
def test_error_in_user_code_is_one_line(workspace: Make, code: str, message: str) -> None:
    place = workspace(upto="split")
    (place / "models.py").write_text(code, encoding="utf-8")
    result = run("extract", workspace=place)
    assert result.code == 2
    assert message in result.error


def test_workspace_after_the_command_wins(workspace: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place, other = workspace(), workspace(name="other", train="folder:nowhere")
    assert run("-C", str(place), "split", "--dry-run").code == 0
    assert run("split", "--dry-run", "-C", str(place)).code == 0
    assert run("split", "--dry-run", "--workspace", str(place)).code == 0
    assert run("split", "--dry-run", "-C", str(other)).code == 2
    monkeypatch.setenv("ZOO_WORKSPACE", str(place))
    assert run("split", "--dry-run").code == 0
    # After the command wins over before it, and both over the environment.
    assert run("-C", str(other), "split", "--dry-run").code == 2
    assert run("-C", str(other), "split", "--dry-run", "-C", str(place)).code == 0
    monkeypatch.setenv("ZOO_WORKSPACE", str(other))
    assert run("split", "--dry-run", "-C", str(place)).code == 0


def test_workspace_flag_works_with_two_word_commands(workspace: Make) -> None:
    place = workspace()
    for arguments in (("-C", str(place), "evaluate", "accuracy"), ("evaluate", "accuracy", "-C", str(place))):
        result = run(*arguments)
        assert result.code == 2
        assert str(place / "runs") in result.error
