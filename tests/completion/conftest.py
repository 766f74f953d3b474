"""A workspace to complete in, and the shells that are installed."""

import os
import shutil
from pathlib import Path

import pytest

from zoo_cli.commands import command_line, completions

TOML = """\
[task]
name = "pets"
[student]
name = "small"
model = "torchvision:mobilenet_v3_small"
[[source]]
name = "birds-resnet50"  # not "other"
model = "torchvision:resnet50"
  [[source]]
  name= 'plants'
"""


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion") / "workspace"
    for name in ("birds", "cars", "@student"):
        part = folder / "features" / f"source={name}" / "data=train" / "part-00000-of-00001.parquet"
        part.parent.mkdir(parents=True)
        part.touch()
    for name in ("cross-task-parc-p2-s0", "labels-only-s0"):
        (folder / "runs" / name).mkdir(parents=True)
    for name in (
        "my data/a b.parquet",
        "weights.json",
        "else/where/pets/cat/1.png",
        "else/labels/few/manifest.parquet",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "else" / "features" / "source=far").mkdir(parents=True)
    (folder / "zoo.toml").write_text(TOML)
    # fish looks for completions of commands that exist.
    command = folder.parent / "bin" / "zoo"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def environment(workspace: Path) -> dict[str, str]:
    path = f"{workspace.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(workspace), "TERM": "xterm", "LC_ALL": "C.UTF-8"}


@pytest.fixture(scope="session")
def scripts(workspace: Path) -> dict[str, Path]:
    """A file with each shell's script, by the shell's name."""
    program = command_line.describe_program()
    paths = {}
    for shell, name in completions.SHELLS.items():
        paths[shell] = workspace.parent / shell / name
        paths[shell].parent.mkdir()
        paths[shell].write_text(completions.render_script(shell, program))
    return paths


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")
