"""A workspace in which zoo expert trains: that of `tests.workspaces`, whose models.py has a normed network too."""

from pathlib import Path

from tests import workspaces
from tests.workspaces import Result, run

NORMED = '''

def normed(width=6, channels=3):
    """Batch norms, a 3x3 convolution, a 1x1 and a grouped one."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, 5),
    )
'''
SOURCE = '\n[[source]]\nname = "normed"\nmodel = "python:models.py:normed"\n'
SHORT = ("--steps", "12", "--batch-size", "8", "--lr", "0.05", "--input-size", "12", "--checkpoint-every", "5")


def make(folder: Path) -> Path:
    workspace = workspaces.make(folder)
    with (workspace / "models.py").open("a", encoding="utf-8") as file:
        file.write(NORMED)
    with (workspace / "zoo.toml").open("a", encoding="utf-8") as file:
        file.write(SOURCE)
    return workspace


def expert(workspace: Path, *arguments: str, out: str = "zoo/shapes", data: str = "shapes") -> Result:
    """`zoo expert` on the images of the workspace, in its folder `out`."""
    words = ("expert", "--data", f"{data}=folder:{workspace / 'images'}", "--out", str(workspace / out))
    return run(*words, "--model", "normed", *SHORT, *arguments, workspace=workspace)
