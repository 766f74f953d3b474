"""`zoo init` writes every key of zoo.toml: those set by flags as values, the others as comments."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.workspaces import run
from zoo_cli import config
from zoo_cli.commands import readme
from zoo_cli.config import Source, Task, describe_keys


def write(workspace: Path, *arguments: str) -> str:
    result = run("init", "--train", "folder:/pets/train", *arguments, workspace=workspace)
    assert result.code == 0, result.err
    assert result.out == ""
    return (workspace / "zoo.toml").read_text(encoding="utf-8")


def tables(text: str) -> list[list[str]]:
    """The keys of every table, those in comments too, in order."""
    parts = re.split(r"^(?:# )?\[+\w+\]+.*\n", text, flags=re.MULTILINE)[1:]
    return [re.findall(r"^(?:# )?(\w+) = ", part, flags=re.MULTILINE) for part in parts]


def uncomment(text: str) -> str:
    return re.sub(r"^# (\w+ = |\[)", r"\1", text, flags=re.MULTILINE)


@pytest.mark.parametrize("sources", [(), ("--source", "timm:resnet18", "--source", "file:/zoo/b")])
def test_every_key_is_in_its_table(tmp_path: Path, sources: tuple[str, ...]) -> None:
    task, student, first, *others = tables(write(tmp_path, *sources))
    assert task == [key.name for key in describe_keys(Task)]
    assert student[0] == "model"
    assert first == [key.name for key in describe_keys(Source)]
    assert others == [["name", "model"]] * (len(sources) // 2 - 1)


def test_typed_values_are_read_back(tmp_path: Path) -> None:
    write(
        tmp_path,
        *("--train", "csv:/more.csv", "--test", "folder:/pets/test", "--unlabelled", "folder:/pool"),
        *("--labelled", "5/class", "--name", 'it"s', "--student", "timm:resnet18", "--source", "file:/zoo/b"),
    )
    settings = config.load(tmp_path)
    data = (("folder:/pets/train", "csv:/more.csv"), ("folder:/pets/test",), ("folder:/pool",))
    assert settings.task == Task('it"s', (), *data, "5/class")
    assert settings.student == Source("student", "timm:resnet18")
    assert settings.sources == (Source("b", "file:/zoo/b"),)


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


def test_a_relative_path_is_rebased(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("init", "--train", "folder:pets", workspace=Path("work")).code == 0
    assert config.load(tmp_path / "work").task.train == ("folder:../pets",)


def test_the_same_flags_are_up_to_date(tmp_path: Path) -> None:
    text = write(tmp_path)
    again = run("init", "--train", "folder:/pets/train", workspace=tmp_path)
    assert (again.code, again.err) == (0, f"{tmp_path / 'zoo.toml'} is up to date\n")
    other = run("init", "--train", "folder:/cars", workspace=tmp_path)
    assert other.code == 2
    assert other.error.endswith("exists; edit it, or replace it with --overwrite")
    assert (tmp_path / "zoo.toml").read_text(encoding="utf-8") == text
    assert run("init", "--train", "folder:/cars", "--overwrite", workspace=tmp_path).code == 0
    assert config.load(tmp_path).task.train == ("folder:/cars",)


@pytest.mark.parametrize("flags", [("--test", "foldr:x"), ("--student", "resnet18"), ("--source", "tim:x")])
def test_an_unknown_provider_writes_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    assert run("init", "--train", "folder:/pets/train", *flags, workspace=tmp_path).code == 2
    assert not (tmp_path / "zoo.toml").exists()


def test_the_sample_of_the_readme_has_every_key(tmp_path: Path) -> None:
    text = readme.zoo_toml().removeprefix("```toml\n").removesuffix("```\n")
    task, _, first, _ = tables(text)
    assert task == [key.name for key in describe_keys(Task)]
    assert first == [key.name for key in describe_keys(Source)]
    (tmp_path / "zoo.toml").write_text(text, encoding="utf-8")
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/birds.json").write_text('{"input_size": 96}', encoding="utf-8")
    settings = config.load(tmp_path)
    assert [source.name for source in settings.models] == ["birds", "remote", "@student"]


@pytest.mark.parametrize("table", [Task, Source])
def test_every_key_is_described(table: type[Task] | type[Source]) -> None:
    for key in describe_keys(table):
        assert 4 < len(key.about) <= 80, key.name
        assert key.example is not None
