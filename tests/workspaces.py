"""A small task for tests of the whole program: images, three sources, a student, a zoo.toml.

Three classes (blue, green, red) of twelve PNG images of 12 x 12 pixels in class folders; three sources, "alpha" with
weights from a file, "beta" and "gamma" with weights from the seed, so that a weighting has a best, a middle and a worst
source; a student. Made once per session; each test takes a copy:

    workspace = make(tmp_path / "task")                   # zoo.toml images/ samples.csv models.py alpha.safetensors
    workspace = make(tmp_path / "task", upto="extract")   # the same after zoo extract: a copy, nothing runs again
    workspace = make(tmp_path / "task", labelled="all")   # other keys of [task]; None leaves one out
    result = run("rank", "--json", workspace=workspace)   # in this process, the console replaced
    assert result.code == 0, result.err
    result.data                                           # "data" of the JSON answer
    run("rank", "--on", "nose").error                     # the one line of the error

`samples.csv` lists the same images with a `group` column, two images per group. `edit` changes the text of zoo.toml.
"""

import atexit
import contextlib
import functools
import io
import json
import shutil
import signal
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import typer

from zoo_cli import __main__, console, early_signals, interruption
from zoo_cli.store import checksums, files, seals

CLASSES = ("blue", "green", "red")
PER_CLASS = 12
SIDE = 12
PIPELINE = {
    "split": ("split",),
    "extract": ("extract",),
    "score": ("score", "--metric", "parc"),
    "rank": ("rank",),
    "pseudo-label": ("pseudo-label",),
}

MODELS = '''"""Networks of a few hundred weights."""

from torch import nn


def small(width=8, classes=4):
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, classes),
    )
'''
MODEL = """
model = "python:models.py:small"
args = {{ width = {width}, classes = {classes} }}
input_size = 12
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
TASK: dict[str, Any] = {"name": "patterns", "train": "folder:images", "labelled": "50%", "probe": "all"}


@dataclass(frozen=True)
class Result:
    """The result of a command: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The answer of --json, without its envelope."""
        return json.loads(self.out)["data"]

    @property
    def error(self) -> str:
        """The single line of its error. Fails if there is none, more than one, or a traceback."""
        lines = [line for line in self.err.splitlines() if line.startswith("zoo: error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0], self.err
        assert "Traceback" not in self.err, self.err
        return lines[0].removeprefix("zoo: error: ")


def make(folder: Path, *, upto: str | None = None, **task: Any) -> Path:
    """Make a workspace in `folder`. `upto`: as it is after that stage of the pipeline; `task`: keys of [task]."""
    assert upto is None or not task, "stages ran with the default keys"
    shutil.copytree(_template(upto), folder)
    if task:
        (folder / "zoo.toml").write_text(toml(**task), encoding="utf-8")
    return folder


def toml(**task: Any) -> str:
    """The text of zoo.toml, with some keys of [task] changed."""
    keys = {key: value for key, value in {**TASK, **task}.items() if value is not None}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return (
        f"[task]\n{lines}\n[student]{MODEL.format(width=6, classes=3)}\n"
        f'[[source]]\nname = "alpha"{MODEL.format(width=8, classes=4)}weights = "alpha.safetensors"\n'
        f'trained_on = ["shapes"]\n\n[[source]]\nname = "beta"{MODEL.format(width=5, classes=6)}'
        f'\n[[source]]\nname = "gamma"{MODEL.format(width=7, classes=5)}'
    )


def edit(workspace: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in zoo.toml."""
    path = workspace / "zoo.toml"
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {path}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(*arguments: str, workspace: Path | None = None) -> Result:
    """Run a command in this process, followed by -C if there is a workspace. Signal handlers are restored."""
    words = [*arguments] if workspace is None else [*arguments, "-C", str(workspace)]
    out, err = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in early_signals.SIGNALS}
    try:
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            console.use(console.Console(out, err)),
            mock.patch.object(__main__, "app", functools.partial(_command_line, __main__.import_target)),
        ):
            code = __main__.main(words)
    finally:
        interruption.reset()
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return Result(code, out.getvalue(), err.getvalue())


_app = __main__.app


@functools.cache
def _command_line(_import_target: Any) -> Any:
    """The command line, built once for all tests that import its commands alike, since that takes time."""
    return typer.main.get_command(_app())


def sign_run(folder: Path) -> None:
    """Let run.json be sealed and SHA256SUMS list the files of a run as they are, after a change that is not damage."""
    record = json.loads((folder / checksums.RECORD).read_text(encoding="utf-8"))
    if isinstance(record, dict) and record.pop(seals.JSON_KEY, None) is not None:
        files.write_sealed_json(folder / checksums.RECORD, record)
    checksums.write_sums(folder, checksums.read_sums(folder))


def unseal(document: Path) -> Any:
    """Remove the seal of a JSON document, as those of earlier versions have none; its content."""
    content = json.loads(document.read_text(encoding="utf-8"))
    content.pop(seals.JSON_KEY)
    document.write_text(json.dumps(content), encoding="utf-8")
    return content


def write_class_names(workspace: Path, names: list[str]) -> None:
    """Change the class names of a workspace, and the manifest so that it does not know of others."""
    import pyarrow.parquet as pq

    (workspace / "classes.json").write_text(json.dumps({"names": names}), encoding="utf-8")
    table = pq.read_table(workspace / "manifest.parquet")
    header = json.loads(table.schema.metadata[b"zoo"])
    del header["beside"]
    pq.write_table(table.replace_schema_metadata({b"zoo": json.dumps(header)}), workspace / "manifest.parquet")


@functools.cache
def _template(upto: str | None) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="zoo-tests-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    place = folder / "task"
    if upto is None:
        _draw(place)
        return place
    stages = list(PIPELINE)
    before = stages.index(upto)
    shutil.copytree(_template(stages[before - 1] if before else None), place)
    result = run(*PIPELINE[upto], workspace=place)
    assert result.code == 0, result.err
    return place


def _draw(place: Path) -> None:
    import numpy as np
    import torch
    from PIL import Image
    from safetensors.torch import save_file

    random = np.random.default_rng(7)
    rows = ["path,label,group"]
    for number, name in enumerate(CLASSES):
        folder = place / "images" / name
        folder.mkdir(parents=True)
        for index in range(PER_CLASS):
            pixels = random.integers(0, random.integers(100, 256), (SIDE, SIDE, 3), dtype=np.uint8)
            # A class is a colour and a spacing of stripes, not too easy, so that the scores of sources differ.
            pixels[:: number + 2, :, 2 - number] = random.integers(120, 200)
            Image.fromarray(pixels).save(folder / f"{index:02}.png")
            rows.append(f"images/{name}/{index:02}.png,{name},{name}-{index // 2}")
    (place / "samples.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (place / "models.py").write_text(MODELS, encoding="utf-8")
    (place / "zoo.toml").write_text(toml(), encoding="utf-8")
    generator = torch.Generator().manual_seed(1)
    shapes = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "4.weight": (4, 8), "4.bias": (4,)}
    weights = {name: torch.randn(shape, generator=generator) * 0.3 for name, shape in shapes.items()}
    save_file(weights, place / "alpha.safetensors")
