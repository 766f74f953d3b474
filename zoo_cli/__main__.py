"""The entry point: the command line, and the one place where errors become exit codes."""

if __name__ == "__main__":
    # Before the imports below, which take a tenth of a second; the console script begins in `start`.
    from zoo_cli import early_signals

    early_signals.leave_at_once()

import functools
import inspect
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zoo_cli import (
    __version__,
    answer_stream,
    config,
    console,
    device_errors,
    early_signals,
    interruption,
    invocation,
    ranks,
    shards,
    specs,
    system_errors,
    trust,
)
from zoo_cli.answer_tables import check_csv_safe, check_format
from zoo_cli.command_table import COMMANDS, GROUPS, OF_SEVERAL_PROCESSES
from zoo_cli.commands.help_sections import SectionedCommand, SectionedGroup
from zoo_cli.commands.options import shared_flags
from zoo_cli.errors import Interrupted, UsageError, ZooError
from zoo_cli.registry import import_target

ABOUT = """Choose, weigh and distil pretrained models into one small, accurate student.

In a folder with a zoo.toml: zoo extract, zoo rank, zoo distill. Every command makes the inputs that are missing.
There, zoo alone shows what is done and what comes next.

Exit codes: 0 done, 1 failed while running, 2 wrong usage or stale input, 3 a file breaks its contract,
4 too many samples failed, 70 a bug in zoo, 75 stopped early with a checkpoint, 128+n signal n."""

BUG = 70
CLOSED_PIPE = 128 + 13
FlagError: Any = typer.BadParameter.__bases__[0]
"""What typer raises for wrong flags, commands and arguments; it exports only this kind of it."""


def app() -> typer.Typer:
    """The command line, built from the registry."""
    settings: dict[str, Any] = {
        "cls": SectionedGroup,
        "add_completion": False,
        "no_args_is_help": True,
        "rich_markup_mode": None,
        "pretty_exceptions_enable": False,
        "context_settings": {"help_option_names": ["-h", "--help"]},
    }
    top = typer.Typer(help=ABOUT, **settings)
    top.callback()(_top)
    groups = {name: typer.Typer(help=about, **settings) for name, about in GROUPS.items()}
    for name, group in groups.items():
        top.add_typer(group, name=name)
    for name, target in COMMANDS.items():
        first, _, command = name.rpartition(" ")
        parent = groups[first] if first else top
        parent.command(command, cls=SectionedCommand)(_with_shared_flags(name, import_target(target)))
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Without `argv` the process is zoo's own, and `sys.argv` the command."""
    if argv is None:
        answer_stream.separate()
    # Two spinning OpenMP threads on shared cores make a small training step thirty times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    interruption.install()
    code, error = _run_until_signal(argv)
    with interruption.deferred():  # torchrun sends TERM to all processes when one has ended
        if error:
            ranks.fail(error)
        ranks.leave(code)
    early_signals.leave_at_once(silently=True)
    interruption.leave_if_hanging(code)
    answer_stream.hand_over()
    return code


def _run_until_signal(argv: Sequence[str] | None) -> tuple[int, str]:
    """As `_run`, and for a signal 128 + its number. No later signal is raised."""
    try:
        with interruption.raised():
            return _run(argv)
    except Interrupted as stop:
        return 128 + stop.signum, early_signals.describe(stop.signum)


def _run(argv: Sequence[str] | None) -> tuple[int, str]:
    """The exit code of a command, and the line of its error."""
    try:
        invocation.remember(sys.argv[1:] if argv is None else argv)
        ranks.start()
        with ranks.silence(), answer_stream.escaped_usage_errors():
            code = app()(args=_words(argv), prog_name="zoo", standalone_mode=False)
            return code if isinstance(code, int) else 0, ""
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None), ""
    except KeyboardInterrupt:  # where a user's code has taken the handler of Ctrl-C away from us
        return 128 + signal.SIGINT, early_signals.describe(signal.SIGINT)
    except typer.Abort:
        return 128 + signal.SIGINT, early_signals.describe(signal.SIGINT)
    except FlagError as error:
        return _explain(error)
    except ZooError as error:
        if error.__cause__ is not None and console.current().verbosity > 0:
            console.current().trace(error.__cause__)
        return error.code, str(error)
    except console.ClosedPipe:
        return CLOSED_PIPE, ""
    except Exception as error:
        failure = device_errors.translate(error) or system_errors.translate(error)
        if failure is None or console.current().verbosity > 0:
            console.current().trace(error)
        if failure is None:
            return BUG, f"this is a bug in zoo {__version__}; please report it with the lines above"
        return failure.code, str(failure)
    finally:
        invocation.remember(())


def _words(argv: Sequence[str] | None) -> list[str]:
    """The words of the command line: where there are none, `status` in a workspace, and help elsewhere.

    `help COMMAND` is `COMMAND --help`, as in git.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        return [*words[1:], "--help"]
    here = Path(os.environ.get("ZOO_WORKSPACE") or ".")
    return words or (["status"] if (here / config.FILE).is_file() else [])


def _explain(error: Any) -> tuple[int, str]:
    """The exit code of a wrong flag, command or argument, and its line: what is wrong, and where the right ones are."""
    context = error.ctx
    command = "zoo" if context is None else context.command_path
    message = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        for line in message.splitlines():
            console.say(line)
        return error.exit_code, ""
    # As errors of zoo begin, and offer names.
    text = f"{message[:1].lower()}{message[1:]}".rstrip(".")
    suggestion = re.match(r"(.*?)(?:\. Did you mean (.*)\?| \((?:Did you mean|Possible options:) (.*?)\??\))$", text)
    if suggestion:
        return error.exit_code, f"{suggestion[1]}; did you mean {suggestion[2] or suggestion[3]}"
    return error.exit_code, f"{text}; see {command} --help"


def _print_version(requested: bool) -> None:
    if requested:
        console.current().answer(f"zoo {__version__}")
        raise typer.Exit


def _top(
    context: typer.Context,
    workspace: Annotated[
        Path | None,
        typer.Option("-C", "--workspace", metavar="DIR", envvar="ZOO_WORKSPACE", help="Folder of zoo.toml."),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback acts on it
        bool, typer.Option("-V", "--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    if workspace is not None:
        # A default of every command: -C before the command means the same as after it, where it wins.
        defaults: dict[str, Any] = {}
        for name in COMMANDS:
            group, _, command = name.rpartition(" ")
            (defaults.setdefault(group, {}) if group else defaults)[command] = {"workspace": str(workspace)}
        context.default_map = defaults


_top.__doc__ = ABOUT


def _with_shared_flags(name: str, function: Callable[..., None]) -> Callable[..., None]:
    """The command with -q, -v, --csv-safe and --trust, which set the console and the process, and not the stage."""
    signature = inspect.signature(function)
    shared = shared_flags(name, signature.parameters)

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> None:
        console.current().verbosity = kwargs.pop("verbose", False) - kwargs.pop("quiet", False)
        trust.reset()
        trust.trust_folders(kwargs.pop("trust", None) or ())
        trust.name_files(_texts(kwargs.values()))
        _check_values(kwargs)
        check_format(kwargs.get("form"))
        console.current().csv_safe = kwargs.pop("csv_safe", False)
        if console.current().csv_safe:
            check_csv_safe("json" if kwargs.get("json") else kwargs.get("form"), kwargs.get("out"))
        if kwargs.get("shard") == shards.AUTO:
            ranks.stand_alone()
        if name not in OF_SEVERAL_PROCESSES:
            ranks.refuse(name)
        with answer_stream.reserved():
            function(*args, **kwargs)

    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in shared.items()
    ]
    command.__signature__ = signature.replace(parameters=[*signature.parameters.values(), *extra])  # type: ignore[attr-defined]
    command.__annotations__ = {**function.__annotations__, **{name: kind for name, (kind, _) in shared.items()}}
    # The mark keeps the lines of an example apart in --help.
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    command.__doc__ = "\n\n".join(f"\b\n{text}" if text.startswith("zoo ") else text for text in paragraphs)
    return command


def _check_values(values: Mapping[str, Any]) -> None:
    """Raise UsageError for an integer that no file and no array can hold, and for a path that is not UTF-8."""
    for name, value in values.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, int) and not specs.is_storable(item):
                raise UsageError(f"{_flag(name)} has {len(str(abs(item)))} digits", "use fewer")
            if isinstance(item, str | Path) and any("\ud800" <= letter <= "\udfff" for letter in str(item)):
                raise UsageError(f"{_flag(name)} {str(item)!a} is not UTF-8", "rename the file or folder")


def _flag(name: str) -> str:
    """The flag of a parameter, as errors name it."""
    return f"--{name.replace('_', '-')}"


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """The texts among the values of flags, each of which may be a list."""
    for value in values:
        yield from (text for text in (value if isinstance(value, list | tuple) else [value]) if isinstance(text, str))


if __name__ == "__main__":
    sys.exit(main())
