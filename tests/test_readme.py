"""The README agrees with the code, and every line of its shell blocks can be typed."""

import functools
import importlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from zoo_cli import config, errors
from zoo_cli.__main__ import BUG, CLOSED_PIPE, app
from zoo_cli.command_table import COMMANDS
from zoo_cli.commands import readme

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)


def typed() -> list[list[str]]:
    """Every `zoo …` of the shell blocks, as words after `zoo`."""
    commands = []
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for words in shell_commands(line):
                while words and words[0] in ("srun", "exec"):
                    words = words[1:]
                if words and words[0] == "torchrun":
                    words = ["zoo", *words[words.index("zoo_cli") + 1 :]]
                if words and words[0].rpartition("/")[2] == "zoo":
                    commands.append(words[1:])
    return commands


def shell_commands(line: str) -> list[list[str]]:
    """The words of each command of a line of bash, without what follows a redirection."""
    # In a word, # begins no comment.
    lexer = shlex.shlex(re.sub(r"(^|\s)#.*", "", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    commands: list[list[str]] = [[]]
    is_redirected = False
    for word in lexer:
        if set(word) <= set(";|&()"):
            commands.append([])
            is_redirected = False
        elif set(word) <= set("<>"):
            is_redirected = True
        elif not is_redirected:
            commands[-1].append(word)
    return [words for words in commands if words]


@pytest.fixture
def parser(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The command line with commands that only parse their flags."""

    def idle(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def command(*_args: Any, **_kwargs: Any) -> None:
            return None

        return command

    for target in COMMANDS.values():
        module, _, attribute = target.partition(":")
        command_module = importlib.import_module(module)
        monkeypatch.setattr(command_module, attribute, idle(getattr(command_module, attribute)))
    return app()


def test_the_generated_parts_are_what_the_code_writes() -> None:
    assert readme.refresh(TEXT) == TEXT, "python -m zoo_cli.commands.readme README.md"


@pytest.mark.parametrize("name", [*readme.BLOCKS, "demo"])
def test_every_generated_part_has_its_place_once(name: str) -> None:
    assert len(re.findall(rf"^<!-- {name} -->\n.*?^<!-- /{name} -->$", TEXT, flags=re.DOTALL | re.MULTILINE)) == 1


def test_only_stale_parts_are_rewritten() -> None:
    stale = "before\n<!-- exits -->\n| 9 | old |\n<!-- /exits -->\n<!-- demo -->\nkept\n<!-- /demo -->\n"
    fresh = readme.refresh(stale)
    assert fresh == stale.replace("| 9 | old |\n", readme.exits())


def test_the_exit_codes_are_those_of_the_program() -> None:
    codes = re.findall(r"^\| (\d+) \|", readme.exits(), flags=re.MULTILINE)
    kinds = [errors.ZooError, *errors.ZooError.__subclasses__()]
    assert {int(code) for code in codes} == {0, BUG, *(kind.code for kind in kinds)}
    assert f"{CLOSED_PIPE} when the reader of stdout has gone" in readme.exits()


def test_the_reader_finds_lines_to_type() -> None:
    assert len(typed()) > 20
    assert {words[0] for words in typed()} >= {name.partition(" ")[0] for name in COMMANDS} - {"sources"}


@pytest.mark.parametrize("words", typed(), ids=shlex.join)
def test_every_line_can_be_typed(words: list[str], parser: Any) -> None:
    result = CliRunner().invoke(parser, words)
    assert result.exit_code == 0, result.output


def test_an_unknown_flag_would_be_seen(parser: Any) -> None:
    assert CliRunner().invoke(parser, ["rank", "--metrik", "parc"]).exit_code == 2


def test_every_command_and_flag_of_the_prose_exists(parser: Any) -> None:
    prose = re.sub(r"^```.*?^```$", "", TEXT, flags=re.DOTALL | re.MULTILINE)
    helps = {name: CliRunner().invoke(parser, [*name.split(), "--help"]).output for name in COMMANDS}
    for text in re.findall(r"`(zoo [a-z][^`]*)`", prose):
        assert any(text == f"zoo {name}" or text.startswith(f"zoo {name} ") for name in COMMANDS), text
    for flag in re.findall(r"`[^`]*?(--[a-z][\w-]*)", prose):
        assert flag == "--help" or any(re.search(rf"{flag}\b", text) for text in helps.values()), flag


@pytest.mark.parametrize("number", range(len(blocks("toml"))))
def test_every_zoo_toml_can_be_read(number: int, tmp_path: Path) -> None:
    (tmp_path / config.FILE).write_text(blocks("toml")[number])
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo/birds.json").write_text('{"input_size": 96}')
    settings = config.load(tmp_path)
    assert settings.task.train
    assert settings.student
    assert settings.sources


def test_the_set_up_is_two_commands() -> None:
    first = blocks("bash")[0].strip()
    assert first == 'python3 -m venv .venv && .venv/bin/pip install ".[demo]" && .venv/bin/zoo demo'
    lines = TEXT.splitlines()
    place = lines.index("<!-- test command -->")
    assert lines[place + 1] == "```bash"
    assert lines[place + 2].endswith(".venv/bin/pytest")
    assert lines[place + 3] == "```"
