"""The house keeps its floors: imports only go down, and each kind of file stays what it is."""

import ast
import sys
from pathlib import Path

import pytest

import zoo_cli

PACKAGE = Path(zoo_cli.__file__).parent
FLOORS = {
    0: {"", "errors"},
    1: {
        "files",
        "schemas",
        "config",
        "console",
        "registry",
        "options",
        "interruption",
        "provenance",
        "columns",
        "specs",
    },
    2: {
        "training",
        "objectives",
        "data",
        "models",
        "metrics",
        "weighting",
        "selection",
        "verdict",
        "aggregation",
        "judgement",
        "expertise",
        "sets",
        "flips",
        "report",
    },
    3: {"stages"},
    4: {"__main__"},
}
WITHIN = {("training", "objectives"), ("files", "schemas")}
PURE = (
    "metrics",
    "weighting",
    "objectives",
    "selection",
    "verdict",
    "aggregation",
    "judgement",
    "expertise",
    "sets",
    "flips",
    "training",
)
FORBIDDEN_NAMES = {"utils", "core", "common", "helpers", "base", "manager"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def floor(name: str) -> int:
    return next(level for level, names in FLOORS.items() if name in names)


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [
                name
                if (PACKAGE.parent / name.replace(".", "/")).with_suffix(".py").exists()
                or (PACKAGE.parent / name.replace(".", "/")).is_dir()
                else str(node.module)
                for name in names
            ]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def upward(path: Path) -> list[str]:
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    here = room(name)
    wrong = []
    for target in imports(path):
        if not target.startswith("zoo_cli"):
            continue
        there = room(target)
        if there == here or (here, there) in WITHIN:
            continue
        same = floor(there) == floor(here)
        if floor(there) > floor(here) or (same and floor(here) == 2):
            wrong.append(f"{name} imports {target}")
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_go_down(path: Path) -> None:
    assert upward(path) == []


def test_an_upward_import_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = tmp_path / "zoo_cli" / "metrics" / "bad.py"
    bad.parent.mkdir(parents=True)
    bad.write_text("def f():\n    from zoo_cli.stages import rank\n")
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "zoo_cli")
    assert upward(bad) == ["zoo_cli.metrics.bad imports zoo_cli.stages"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_methods_know_no_files_and_no_console(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in PURE:
        assert not {"zoo_cli.files", "zoo_cli.console", "zoo_cli.config"} & set(imports(path))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_metrics_and_weightings_are_numpy_alone(path: Path) -> None:
    if path.relative_to(PACKAGE).parts[0].removesuffix(".py") in (
        "metrics",
        "weighting",
        "selection",
        "verdict",
        "aggregation",
    ):
        assert not {name.partition(".")[0] for name in imports(path)} & {"torch", "torchvision", "pyarrow"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_boundary_leaves_the_program(path: Path) -> None:
    if path.name == "__main__.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type
            names = [n.id for n in ast.walk(caught) if isinstance(n, ast.Name)] if caught else ["everything"]
            assert not {"everything", "Exception", "BaseException"} & set(names), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            assert not (node.func.attr == "exit" and getattr(node.func.value, "id", "") == "sys"), (
                f"{path}:{node.lineno}"
            )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_typers_public_names_are_used(path: Path) -> None:
    wrong = [
        n for n in imports(path) if n.split(".")[0] == "click" or (n.startswith("typer.") and n != "typer.testing")
    ]
    assert not wrong


def test_no_module_is_named_like_the_standard_library_or_like_nothing() -> None:
    names = {path.stem for path in modules()} - {"__init__", "__main__"}
    assert not names & set(sys.stdlib_module_names)
    assert not names & FORBIDDEN_NAMES
