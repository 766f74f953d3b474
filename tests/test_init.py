"""`zoo init` writes every key of zoo.toml: those set by flags as values, the others as comments."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from tests.workspaces import run
from zoo_cli import config
from zoo_cli.commands import readme
from zoo_cli.config import Source, Task, describe_keys


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders and files that the tests name, in the current folder, which is the workspace."""
    for name in ("pets/train", "pets/test", "cars", "pool", "zoo/b"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "more.csv").write_text("path\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)


def write(workspace: Path, *arguments: str) -> str:
    result = run("init", "--train", "folder:pets/train", *arguments, workspace=workspace)
    assert result.code == 0, result.err
    assert result.out == ""
    return (workspace / "zoo.toml").read_text(encoding="utf-8")


def tables(text: str) -> list[list[str]]:
    """The keys of every table, those in comments too, in order."""
    parts = re.split(r"^(?:# )?\[+\w+\]+.*\n", text, flags=re.MULTILINE)[1:]
    return [re.findall(r"^(?:# )?(\w+) = ", part, flags=re.MULTILINE) for part in parts]


def uncomment(text: str) -> str:
    return re.sub(r"^# (\w+ = |\[)", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("sources", [(), ("--source", "timm:resnet18", "--source", "file:zoo/b")])
def test_every_key_is_in_its_table(tmp_path: Path, sources: tuple[str, ...]) -> None:
    task, student, first, *others = tables(write(tmp_path, *sources))
    assert task == [key.name for key in describe_keys(Task)]
    assert student[0] == "model"
    assert first == [key.name for key in describe_keys(Source)]
    assert others == [["name", "model"]] * (len(sources) // 2 - 1)


def test_typed_values_are_read_back(tmp_path: Path) -> None:
    write(
        tmp_path,
        *("--train", "csv:more.csv", "--test", "folder:pets/test", "--unlabelled", "folder:pool"),
        *("--labelled", "5/class", "--name", 'it"s', "--student", "timm:resnet18", "--source", "file:zoo/b"),
    )
    settings = config.load(tmp_path)
    data = (("folder:pets/train", "csv:more.csv"), ("folder:pets/test",), ("folder:pool",))
    assert settings.task == Task('it"s', (), *data, "5/class")
    assert settings.student == Source("student", "timm:resnet18")
    assert settings.sources == (Source("b", "file:zoo/b"),)


def test_commented_keys_are_the_defaults(tmp_path: Path) -> None:
    text = uncomment(write(tmp_path, "--source", "timm:resnet18"))
    values = tomllib.loads(text)
    for table, kind in ((values["task"], Task), (values["source"][0], Source)):
        for key in describe_keys(kind):
            default = list(key.default) if isinstance(key.default, tuple) else key.default
            if key.name not in ("name", "model", "train", "test", "unlabelled") and default is not None:
                assert table[key.name] == default, key.name
    (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
    config.load(tmp_path)


def test_a_relative_path_is_rebased(tmp_path: Path) -> None:
    assert run("init", "--train", "folder:pets", workspace=Path("work")).code == 0
    assert config.load(tmp_path / "work").task.train == ("folder:../pets",)


def test_the_same_flags_are_up_to_date(tmp_path: Path) -> None:
    text = write(tmp_path)
    again = run("init", "--train", "folder:pets/train", workspace=tmp_path)
    assert (again.code, again.err) == (0, f"{tmp_path / 'zoo.toml'} is up to date\n")
    other = run("init", "--train", "folder:cars", workspace=tmp_path)
    assert other.code == 2
    assert other.error.endswith("exists; edit it, or replace it with --overwrite")
    assert (tmp_path / "zoo.toml").read_text(encoding="utf-8") == text
    assert run("init", "--train", "folder:cars", "--overwrite", workspace=tmp_path).code == 0
    assert config.load(tmp_path).task.train == ("folder:cars",)


@pytest.mark.parametrize("flags", [("--test", "foldr:x"), ("--student", "resnet18"), ("--source", "tim:x")])
def test_an_unknown_provider_writes_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert run("init", "--train", "folder:pets/train", *flags, workspace=tmp_path).code == 2
    assert not (tmp_path / "zoo.toml").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--train", "folder:pets/tran"), r'no folder ".*pets/tran" (folder:pets/tran); paths are relative'),
        (("--train", "folder:more.csv"), r'no folder ".*more.csv" (folder:more.csv)'),
        (("--test", "csv:less.csv"), r'no file ".*less.csv" (csv:less.csv)'),
        (("--unlabelled", "parquet:pool/*.parquet"), "no file matches parquet:pool/*.parquet"),
        (("--train", "torchvision:CIFAR10?root=data"), 'no folder ".*data" (torchvision:CIFAR10?root=data)'),
        (("--source", "file:zoo/c"), r'no folder ".*zoo/c" (file:zoo/c)'),
        (("--student", "python:m.py:build"), r'no file ".*m.py" (python:m.py:build)'),
        (("--source", "features:o.parquet"), "no file matches features:o.parquet"),
        (("--source", "file:zoo/b", "--source", "features:b.parquet"), 'two sources of .* are named "b"; rename one'),
        (("--source", "timm:.hidden"), '".hidden" of .* cannot name a source'),
    ],
)
def test_a_bad_name_or_path_writes_nothing(tmp_path: Path, flags: tuple[str, ...], message: str) -> None:
    result = run("init", "--train", "folder:pets/train", *flags, workspace=tmp_path)
    assert result.code == 2
    parts = message.split(".*")
    assert all(part in result.error for part in parts), result.error
    assert not (tmp_path / "zoo.toml").exists()


@pytest.mark.parametrize(
    ("name", "denied", "message"), [("pets/train", os.R_OK, "cannot be read"), ("", os.W_OK, "cannot be written")]
)
def test_a_folder_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, denied: int, message: str
) -> None:
    closed, real = tmp_path / name, os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == closed and mode & denied) and real(path, mode))
    result = run("init", "--train", f"folder:{tmp_path}/pets/train", workspace=tmp_path)
    assert result.code == 2
    assert f"{closed}" in result.error
    assert message in result.error


def test_a_share_for_the_test_part_and_a_new_folder_are_fine(tmp_path: Path) -> None:
    result = run("init", "--train", "folder:pets/train", "--test", "30%", workspace=tmp_path / "new/work")
    assert result.code == 0, result.err
    assert config.load(tmp_path / "new/work").task.test == ("30%",)


def test_the_sample_of_the_readme_has_every_key(tmp_path: Path) -> None:
    text = readme.zoo_toml().removeprefix("```toml\n").removesuffix("```\n")
    task, _, first, _ = tables(text)
    assert task == [key.name for key in describe_keys(Task)]
    assert first == [key.name for key in describe_keys(Source)]
    (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
    (tmp_path / "zoo/birds.json").write_text('{"input_size": 96}', encoding="utf-8")
    settings = config.load(tmp_path)
    assert [source.name for source in settings.models] == ["birds", "remote", "@student"]


@pytest.mark.parametrize("table", [Task, Source])
def test_every_key_is_described(table: type[Task] | type[Source]) -> None:
    for key in describe_keys(table):
        assert 4 < len(key.about) <= 80, key.name
        assert key.example is not None
