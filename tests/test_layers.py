"""The structure of the package: imports go down and form no circle, and each folder keeps to its kind."""

import ast
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import zoo_cli
from zoo_cli import command_table, registry

PACKAGE = Path(zoo_cli.__file__).parent
LEVELS = (
    {"", "errors", "device_errors", "free_memory", "system_errors", "early_signals"},
    {"config", "console", "specs", "registry", "entries", "command_table", "interruption", "devices", "text_table"}
    | {"ranks", "collectives", "pixel_range", "trust", "config_values", "label_sets"}
    | {"source_tables", "source_card", "spec_paths", "shards"}
    | {
        "guard",
        "answer_stream",
        "answer_tables",
        "progress",
        "quantities",
        "text_escapes",
        "counts",
        "invocation",
        "json_layout",
    },
    {"images", "data", "models", "metrics", "weighting", "heads", "objectives", "store"},
    {"training", "ranking", "evaluation", "report", "demo"},
    {"pipeline"},
    {"__main__", "commands", "api"},
    {"start"},
)
"""The first part of a module's name below zoo_cli, from the bottom up."""
METHODS = {"metrics", "weighting", "heads", "objectives"}
NUMPY_ALONE = {"metrics", "weighting", "heads", "ranking"}
FORBIDDEN_NAMES = {"utils", "core", "common", "helpers", "base", "manager"}
TYPER = {"typer.core", "typer.testing"}
"""Its modules with public names: TyperCommand and TyperGroup, CliRunner."""

Graph = Mapping[str, set[str]]


def sources() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): ast.parse(
            path.read_text(encoding="utf-8")
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


MODULES = sources()


def imported(name: str, modules: Mapping[str, ast.Module]) -> set[str]:
    """The imports of a module: at its top, inside functions, and for the type checker alone."""
    names: set[str] = set()
    for node in ast.walk(modules[name]):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: imports are absolute"
            parts = [f"{node.module}.{alias.name}" for alias in node.names]
            names |= {part if part in modules else str(node.module) for part in parts}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names - {name}


def graph(modules: Mapping[str, ast.Module]) -> Graph:
    """The imports of every module among those of the package, without `zoo_cli` itself."""
    return {name: {target for target in imported(name, modules) if target in modules} - {"zoo_cli"} for name in modules}


def circles(edges: Graph) -> list[list[str]]:
    """Every path of imports that returns to its start, once for each module on which it closes."""
    done: set[str] = set()
    closed: list[list[str]] = []

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            closed.append(path[path.index(name) :])
        elif name not in done:
            for other in sorted(edges[name]):
                walk(other, [*path, name])
            done.add(name)

    for name in edges:
        walk(name, [])
    return closed


def folder(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if folder(name) in names)


def upward(edges: Graph) -> list[str]:
    """Imports of a module from a higher level."""
    return [
        f"{name} imports {other}"
        for name, others in edges.items()
        for other in sorted(others)
        if level(other) > level(name)
    ]


IMPORTED = {name: imported(name, MODULES) for name in MODULES}
EDGES = graph(MODULES)


def parse(**texts: str) -> dict[str, ast.Module]:
    """A made-up package, by dotted name with "__" for each dot."""
    return {"zoo_cli": ast.parse("")} | {
        f"zoo_cli.{name.replace('__', '.')}": ast.parse(text) for name, text in texts.items()
    }


def test_imports_form_no_circle() -> None:
    assert circles(EDGES) == []


def test_imports_only_go_down() -> None:
    assert upward(EDGES) == []


@pytest.mark.parametrize(
    "text",
    [
        "from zoo_cli.metrics import b",
        "def f():\n    from zoo_cli.metrics.b import x",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import zoo_cli.metrics.b",
    ],
)
def test_circle_is_detected(text: str) -> None:
    modules = parse(metrics__a=text, metrics__b="from zoo_cli.metrics import a")
    assert circles(graph(modules)) == [["zoo_cli.metrics.a", "zoo_cli.metrics.b"]]


def test_upward_import_is_detected() -> None:
    modules = parse(metrics__a="def f():\n    from zoo_cli.pipeline import rank", pipeline__rank="")
    assert upward(graph(modules)) == ["zoo_cli.metrics.a imports zoo_cli.pipeline.rank"]


def among(folders: set[str]) -> list[str]:
    return [name for name in MODULES if folder(name) in folders]


@pytest.mark.parametrize("name", among(METHODS | {"ranking"}))
def test_methods_import_no_files_and_no_console(name: str) -> None:
    folders = {folder(other) for other in EDGES[name]}
    assert not folders & {"store", "console", "config", "devices"}


@pytest.mark.parametrize("name", among(NUMPY_ALONE))
def test_metrics_and_weightings_import_only_numpy(name: str) -> None:
    assert not {other.partition(".")[0] for other in IMPORTED[name]} & {"torch", "torchvision", "pyarrow"}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in {"zoo_cli.__main__", "zoo_cli.guard"}])
def test_only_main_exits_or_catches_everything(name: str) -> None:
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.ExceptHandler):
            names = [n.id for n in ast.walk(node.type) if isinstance(n, ast.Name)] if node.type else ["everything"]
            assert not {"everything", "Exception", "BaseException"} & set(names), f"{name}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            leaves = node.func.attr == "exit" and getattr(node.func.value, "id", "") == "sys"
            assert not leaves, f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", list(MODULES))
def test_only_typers_public_names_are_used(name: str) -> None:
    assert not [
        other
        for other in IMPORTED[name]
        if other.split(".")[0] == "click" or (other.startswith("typer.") and other not in TYPER)
    ]


def test_module_names_are_free_and_specific() -> None:
    names = {name.rpartition(".")[2] for name in MODULES} - {"__main__"}
    assert not names & set(sys.stdlib_module_names)
    assert not names & FORBIDDEN_NAMES


def test_file_names_are_unique() -> None:
    """Except a command and its stage, and names on the command line, which are those of files."""
    names_typed = {name.replace("-", "_") for table in registry.TABLES.values() for name in table}
    places: dict[str, list[str]] = {}
    packages = {name.rpartition(".")[0] for name in MODULES}
    for name in MODULES.keys() - packages:
        places.setdefault(name.rpartition(".")[2], []).append(folder(name))
    assert {
        name: folders
        for name, folders in places.items()
        if len(folders) > 1 and name not in names_typed and sorted(folders) != ["commands", "pipeline"]
    } == {}


@pytest.mark.parametrize("command", list(command_table.COMMANDS))
def test_commands_are_thin(command: str) -> None:
    """Flags to a config, one call, an answer: at most 60 lines of body, and nothing made on the way."""
    module, _, name = command_table.COMMANDS[command].partition(":")
    assert module.startswith("zoo_cli.commands.")
    (function,) = [node for node in MODULES[module].body if isinstance(node, ast.FunctionDef) and node.name == name]
    body = function.body[1:]
    assert ast.get_docstring(function)
    assert body[-1].end_lineno - body[0].lineno < 60  # type: ignore[operator]
