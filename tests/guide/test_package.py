"""`import zoo_cli`: its names, and what they load."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import zoo_cli
from tests.guide.readme_blocks import ROOT, write_outputs
from tests.workspaces import make

PACKAGE = Path(zoo_cli.__file__).parent
STUB = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
HEAVY = {"numpy", "pyarrow", "scipy", "torch", "torchvision", "typer", "rich", "PIL", "pandas"}


def loaded(code: str, folder: Path) -> set[str]:
    """The top-level packages that are loaded after some code, which prints nothing."""
    probe = f"{code}\nimport sys, json\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=folder, timeout=60)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


def test_import_loads_nothing_heavy(tmp_path: Path) -> None:
    assert not loaded("import zoo_cli", tmp_path) & HEAVY


def test_dir_lists_every_name_and_loads_nothing(tmp_path: Path) -> None:
    code = "import zoo_cli as zoo\nassert set(zoo.__all__) <= set(dir(zoo))"
    assert not loaded(code, tmp_path) & HEAVY


def test_stored_files_are_read_without_torch(tmp_path: Path) -> None:
    write_outputs(make(tmp_path / "task", upto="rank"))
    code = """
import zoo_cli as zoo
ws = zoo.Workspace("task")
ws.sources(), ws.split(), ws.extract(), ws.score("parc"), ws.rank().to_arrow(), ws.pseudo_label()
zoo.flips("task/before.parquet", "task/after.parquet")
ids, X = zoo.features("task/features/source=alpha")
zoo.score(X, [name.split("/")[1] for name in ids])
"""
    assert not loaded(code, tmp_path) & {"torch", "torchvision"}


@pytest.mark.parametrize("name", zoo_cli.__all__)
def test_every_name_can_be_imported(name: str) -> None:
    value = getattr(zoo_cli, name)
    assert name == "__version__" or value.__doc__
    assert getattr(zoo_cli, name) is value


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Workspce'"):
        _ = zoo_cli.Workspce  # type: ignore[attr-defined]


def test_type_stub_has_the_same_names_and_places() -> None:
    imports = {
        alias.name: f"{node.module}:{alias.asname}"
        for node in STUB.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imports == zoo_cli.API
    (listed,) = (node.value for node in STUB.body if isinstance(node, ast.Assign))
    assert sorted(ast.literal_eval(listed)) == sorted(zoo_cli.__all__)


def test_public_names_are_those_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text.partition("## From Python\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"\bzoo\.([A-Za-z_]+)", section)) == set(zoo_cli.__all__) - {"__version__"}


def test_the_wheel_holds_the_type_information() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    # Every file of these folders is part of the wheel, whatever its ending.
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["zoo_cli"]
    assert (PACKAGE / "py.typed").exists()
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    assert not [line for line in ignored if "py.typed" in line or ".pyi" in line]
