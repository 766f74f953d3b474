"""The fields of a config as the flags of a command."""

import inspect
import typing
from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from zoo_cli.commands.training_flags import RUN_FIELDS, flag_name, with_config_flags
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.training.run_record import RunResult


@dataclass(frozen=True)
class Baking:
    """A config to make flags of."""

    oven_heat: Annotated[int, typer.Option("--oven-heat", metavar="N", help="Degrees.")] = 180
    dough: Annotated[str | None, typer.Option("--dough", help="Kind of dough.")] = None
    loaves: int = 1

    def __post_init__(self) -> None:
        if self.oven_heat < 0:
            raise ParameterError(f"`oven_heat` is {self.oven_heat}", "drop `dough`, or heat")


@with_config_flags
def bake(
    name: Annotated[str, typer.Argument()],
    *,
    loaves: Annotated[str, typer.Option("--loaves", help="Numbers of loaves.")] = "1,2",
    baking: Baking,
    quick: Annotated[bool, typer.Option("--quick")] = False,
) -> None:
    """Bake bread."""
    typer.echo(f"{name} {loaves} {baking} {quick}")


def run(*arguments: str) -> typing.Any:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(bake)
    return CliRunner().invoke(app, arguments)


def test_fields_become_flags() -> None:
    result = run("rye", "--oven-heat", "200", "--quick")
    assert result.output == "rye 1,2 Baking(oven_heat=200, dough=None, loaves=1) True\n"


def test_defaults_are_those_of_the_config() -> None:
    assert "Baking(oven_heat=180, dough=None, loaves=1)" in run("rye").output
    with pytest.raises(UsageError):
        bake("rye", oven_heat=-1)
    assert typing.get_type_hints(bake, include_extras=True).keys() == {"name", "loaves", "oven_heat", "dough", "quick"}


def test_flags_of_the_command_win_over_fields() -> None:
    parameters = inspect.signature(bake).parameters
    assert list(parameters) == ["name", "loaves", "oven_heat", "dough", "quick"]
    assert parameters["loaves"].default == "1,2"


def test_help_shows_flags_metavars_and_defaults() -> None:
    text = run("--help").output
    assert "--oven-heat N" in text
    assert "[default: 180]" in text
    assert "--baking" not in text


def test_errors_name_flags() -> None:
    with pytest.raises(UsageError) as raised:
        bake("rye", oven_heat=-1, dough="sour")
    assert not isinstance(raised.value, ParameterError)
    assert str(raised.value) == "--oven-heat is -1; drop --dough, or heat"


@pytest.mark.parametrize(
    ("parameter", "flag"),
    [("lam", "--lam"), ("batch_size", "--batch-size"), ("sources", "--source"), ("rates", "--lr")],
)
def test_flag_names(parameter: str, flag: str) -> None:
    assert flag_name(parameter) == flag


def test_run_fields_are_keys_of_a_result(tmp_path: typing.Any) -> None:
    row = RunResult("a", tmp_path, 3, {"step": 3, "loss": 0.5, "labelled_accuracy": 1.0, "lr": 0.1}).row
    assert {field.key for field in RUN_FIELDS} <= row.keys()
