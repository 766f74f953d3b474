"""Code that the config.json of a folder names runs only if the user names it, or trusts the folder."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import zoo_cli
from tests.workspaces import MODELS, edit, run

MARK = "\n\nopen(__file__ + '.was-run', 'w').close()\n"
"""The end of a code file that leaves a trace beside it when it runs."""
PREDICT = ("predict", "pack/student", "--data", "folder:images/red")


@pytest.fixture
def place(workspace: Callable[..., Path]) -> Path:
    """A workspace with a run whose student is built by models.py, and a downloaded folder `pack/student` like it."""
    folder = workspace(upto="extract")
    options = ("--name", "a", "--steps", "1", "--batch-size", "8", "--weighting", "equal")
    assert run("distill", *options, workspace=folder).code == 0
    shutil.copytree(folder / "runs/a", folder / "pack/student")
    for name in ("run.json", "SHA256SUMS"):
        (folder / "pack/student" / name).unlink()
    return folder


def plant(place: Path, code: Path, root: str) -> Path:
    """Let the downloaded folder name this file, relative to `root`, as its code, which leaves a trace when it runs."""
    code.write_text(MODELS + MARK)
    path = place / "pack/student/config.json"
    config = json.loads(path.read_text())
    architecture = config["zoo"]["architecture"]
    architecture |= {"model": f"python:{code.name}:small", "root": root, "code_sha256": sha256(code)}
    path.write_text(json.dumps(config))
    return code


def sha256(path: Path) -> str:
    """Of the bytes of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def was_run(code: Path) -> bool:
    """Whether a planted file has left its trace."""
    return Path(f"{code}.was-run").exists()


def predict(place: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> tuple[int, str]:
    """The exit code of `zoo predict` on the downloaded folder, from within the workspace, and its messages."""
    monkeypatch.chdir(place)
    result = run(*PREDICT, *flags)
    return result.code, result.err


@pytest.mark.parametrize(("name", "root"), [("student/net.py", "."), ("net.py", ".."), ("student/net.py", "/absent")])
def test_code_of_a_downloaded_folder_is_not_run(
    name: str, root: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = plant(place, place / "pack" / name, root)
    if root == "/absent":
        config = (place / "pack/student/config.json").read_text()
        (place / "pack/student/config.json").write_text(config.replace("python:net.py", f"python:{code}"))
    monkeypatch.chdir(place)
    flags = ("--steps", "1", "--batch-size", "8", "--name", "b", "--weighting", "equal")
    for words in (
        PREDICT,
        ("extract", "--source", "file:pack/student"),
        ("distill", "--student", "file:pack/student", *flags),
        ("distill", "--init", "file:pack/student", *flags),
        ("finetune", "file:pack/student", "--steps", "1", "--batch-size", "8"),
        ("evaluate", "accuracy", "file:pack/student"),
    ):
        result = run(*words)
        assert (result.code, "net.py, that this workspace does not name" in result.error) == (2, True), words
        assert not was_run(code)
    with pytest.raises(zoo_cli.ZooError, match="trust"):
        zoo_cli.load_student("pack/student")
    assert not was_run(code)


def test_trusted_folder_may_run_its_code(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = plant(place, place / "pack/student/net.py", ".")
    assert predict(place, monkeypatch, "--trust", "runs/a")[0] == 2
    assert not was_run(code)
    assert predict(place, monkeypatch, "--trust", "pack/student")[0] == 0
    assert was_run(code)
    assert predict(place, monkeypatch)[0] == 2, "trust ends with the command"


@pytest.mark.parametrize("where", ["zoo.toml", "command line"])
def test_named_code_runs_instead_of_its_copy(where: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = plant(place, place / "pack/student/net.py", ".")
    (place / "code").mkdir()
    own = place / "code/mine.py"
    own.write_bytes(copy.read_bytes())
    spec = "python:code/mine.py:small"
    if where == "zoo.toml":
        edit(place, 'name = "beta"\nmodel = "python:models.py:small"', f'name = "beta"\nmodel = "{spec}"')
        assert predict(place, monkeypatch)[0] == 0
    else:
        monkeypatch.chdir(place)
        result = run("extract", "--source", "file:pack/student", "--source", spec)
        assert "source mine.py-small: input_size, mean, std not known" in result.error, "after the student was built"
    assert (was_run(own), was_run(copy)) == (True, False)


def test_changed_code_is_refused_before_it_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = plant(place, place / "pack/student/net.py", ".")
    code.write_text(code.read_text() + "# changed\n")
    status, messages = predict(place, monkeypatch, "--trust", "pack/student")
    assert (status, "net.py is not the file that this model was built from" in messages) == (3, True)
    assert not was_run(code)


@pytest.mark.parametrize("model", ["file:pack/student", "features:x.parquet"])
def test_folder_that_names_a_folder_is_refused(model: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place / "pack/student/config.json"
    config = json.loads(path.read_text())
    config["zoo"]["architecture"]["model"] = model
    path.write_text(json.dumps(config))
    status, messages = predict(place, monkeypatch)
    assert (status, "names no network" in messages) == (3, True)


def test_own_run_needs_no_trust(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "zoo.toml").write_text((place / "zoo.toml").read_text().replace("python:models.py", "python:other.py"))
    monkeypatch.chdir(place)
    assert run("predict", "runs/a", "--data", "folder:images/red").code == 0
