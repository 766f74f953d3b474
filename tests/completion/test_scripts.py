"""The scripts agree with the program, and the committed ones are up to date."""

import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from zoo_cli import console
from zoo_cli.__main__ import app
from zoo_cli.commands import command_line, completions
from zoo_cli.commands.completion import completion
from zoo_cli.commands.completions import Command, Flag, Program
from zoo_cli.commands.completions.architectures import CLASSIFIERS, VERSION
from zoo_cli.errors import UsageError
from zoo_cli.images import augmentation

from .conftest import needs

FOLDER = Path(__file__).parents[2] / "completions"


@pytest.fixture(scope="module")
def program() -> Program:
    return command_line.describe_program()


def flags(program: Program) -> Iterator[tuple[Command, Flag]]:
    return ((command, flag) for command in program.commands for flag in command.flags)


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_committed_script_is_up_to_date(shell: str, program: Program) -> None:
    path = FOLDER / completions.SHELLS[shell]
    assert path.read_text() == completions.render_script(shell, program), (
        f"zoo completion {shell} > completions/{path.name}"
    )


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_the_command_prints_the_script(shell: str, program: Program) -> None:
    with console.use(console.Console(out=io.StringIO(), err=io.StringIO())) as captured:
        completion(shell)
    assert isinstance(captured.out, io.StringIO)
    assert captured.out.getvalue() == completions.render_script(shell, program)


def test_an_unknown_shell_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match='no shell "bsh"; did you mean bash'):
        completion("bsh")


@pytest.mark.parametrize(
    "check", [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")], ids=lambda check: str(check[0])
)
def test_the_shell_can_read_its_script(check: tuple[str, str], scripts: dict[str, Path]) -> None:
    if shutil.which(check[0]) is None:
        pytest.skip(f"{check[0]} is not installed")
    result = subprocess.run([*check, str(scripts[check[0]])], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")


def test_flags_are_those_of_the_help(program: Program) -> None:
    runner, top = CliRunner(), app()
    named = {"": {name for flag in program.flags for name in flag.names}}
    named |= {command.name: {name for flag in command.flags for name in flag.names} for command in program.commands}
    for command, names in named.items():
        text = runner.invoke(top, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
        lines = re.findall(r"^  (-.*?)(?:  |$)", text, flags=re.MULTILINE)
        assert names == set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", " ".join(lines))), command


def test_two_word_commands_are_grouped(program: Program) -> None:
    assert list(program.first_words())[:3] == ["init", "split", "extract"]
    assert {"accuracy", "flips"} <= set(program.second_words("evaluate"))


def test_a_flag_takes_a_value_unless_it_is_a_switch(program: Program) -> None:
    kinds = {(command.name, name): flag.kind for command, flag in flags(program) for name in flag.names}
    assert kinds["rank", "--json"] == kinds["rank", "-q"] == kinds["rank", "--help"] == ""
    assert kinds["rank", "--metric"] == kinds["score", "--metric"] == "metric"
    assert kinds["extract", "--batch-size"] == "batch"
    assert kinds["distill", "--batch-size"] == "text"
    assert kinds["rank", "--out"] == "file"
    assert kinds["rank", "-C"] == "folder"


def test_listed_values_are_in_the_help_of_their_flag(program: Program) -> None:
    listed = {kind: values for kind, values in command_line.CHOICES.items() if " " not in kind}
    helps: dict[str, list[str]] = {kind: [] for kind in listed}
    for _, flag in flags(program):
        if flag.kind in helps:
            helps[flag.kind].append(flag.help)
    helps["shell"].append("bash, zsh or fish.")
    for kind in listed.keys() - {"share"}:
        assert helps[kind], f"no flag takes a {kind}"
        for text in helps[kind]:
            for value in listed[kind]:
                assert value in re.findall(r"[\w-]+:?", text), f"{kind}: {value} is not in: {text}"
    assert set(listed["augmentation"]) == set(augmentation.KINDS)


def test_every_kind_of_value_has_words_or_is_free_text(program: Program) -> None:
    used = {flag.kind for _, flag in flags(program)} | {command.argument for command in program.commands}
    assert used - {"", "text"} <= set(program.words)


def test_words_are_safe_to_write_into_a_script(program: Program) -> None:
    for kind, words in program.words.items():
        assert words, kind
        for word in words:
            assert re.fullmatch(r"@?[\w.,:=/%+-]+", word), f"{kind}: {word}"


def test_the_classifiers_are_those_of_torchvision() -> None:
    torchvision = pytest.importorskip("torchvision")
    classifiers = set(torchvision.models.list_models(module=torchvision.models))
    if torchvision.__version__.startswith(VERSION + "."):
        assert set(CLASSIFIERS) == classifiers
    else:
        assert len(classifiers & set(CLASSIFIERS)) > 0.9 * len(CLASSIFIERS)


@needs("bash")
def test_completion_starts_no_other_program(scripts: dict[str, Path]) -> None:
    text = scripts["bash"].read_text()
    assert "$(" not in text
    assert "`" not in re.sub(r"#.*", "", text)
