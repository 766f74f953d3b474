"""`zoo demo`: the whole pipeline on handwritten digits, with sources that it trains itself. It needs no network."""

import io
import json
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from zoo_cli import config, console, interruption, registry
from zoo_cli.commands.options import Seed
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.store import files

if TYPE_CHECKING:
    import torch

SOURCE_STEPS, SOURCE_IMAGES = 200, 1500
STEPS, BATCH = 300, 64
TRAIN = 1200
"""So many of the 1,797 digits, the first ones; the others are the test images."""
STUDENTS = {
    "labels-only": "--lam 1",
    "equal": "--lam 0.5 --weighting equal",
    "nearest": "--lam 0.5 --weighting nearest",
    "weighted": "--lam 0.5 --weighting p=2",
}
FIELDS = (
    console.Field("student"),
    console.Field("n", style=","),
    console.Field("accuracy", style="percent"),
    console.Field("gained", style=","),
    console.Field("lost", style=","),
)

NETWORK = '''\
"""The network of the student and of every source: an ordinary file of yours, which knows nothing of zoo."""

from torch import nn


def build(classes: int) -> nn.Module:
    """A small convolutional network for grey images of any size."""
    return nn.Sequential(
        *block(1, 16),
        nn.MaxPool2d(2),
        *block(16, 32),
        nn.MaxPool2d(2),
        *block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
'''

TASK = """\
# Written by `zoo demo`, and a zoo.toml like any other: paths are relative to this file.

[task]
name = "handwritten-digits"
train = "folder:digits/train"        # one folder a class
test = "folder:digits/test"
labelled = "3/class"                 # the other training images take part without their labels
probe = "all"                        # the sources are scored on every labelled image
seed = {seed}                             # of the choice of those labels, and of the students

[student]                            # the small model that is wanted
model = "python:models.py:build"     # PROVIDER:NAME, here a function in a file of one's own
args = {{ classes = 10 }}              # what the function is called with
# how its images are prepared: their size, the mean and the deviation of pixels in [0, 1], one a channel
{pixels}
# no weights: it starts from scratch

# One table a source, each with weights and classes of its own. The first was trained on a task like this one, the
# others on less and less similar ones: zoo is to find that out from the thirty labels. `trained_on` names the data a
# source has seen; one that has seen the task's own is left out.
"""
PIXELS = """\
input_size = 16
mean = [0.3]
std = [0.38]
channels = 1"""
SOURCE = """
[[source]]
name = {name}
model = "python:models.py:build"
args = {{ classes = {count} }}
weights = {weights}
classes = {classes}
trained_on = {trained_on}
{pixels}
"""


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to work in, kept. Default: a new temporary one.")
    ] = None,
    seed: Seed = None,
) -> None:
    """Show the whole pipeline on handwritten digits in under a minute, without a network.

    zoo demo
    zoo demo --out demo --seed 1
    """
    from zoo_cli.demo import demo_data

    demo_data.check_packages()
    place = Path(tempfile.mkdtemp(prefix="zoo-demo-")) if out is None else out
    with _one_thread():
        _furnish(place, seed or 0)
        again = f"zoo demo --out {shlex.quote(str(place))}" + (f" --seed {seed}" if seed else "")
        console.say(f"everything lies in {place} and stays there; `{again}` goes on where it was stopped")
        settings = config.load(place)
        for source in settings.sources:
            if not (place / source.weights).exists():
                _train_source(settings, source)
        for line in lines(place):
            interruption.check()
            console.current().answer(f"\n$ {line}")
            run(line)
    console.current().answer("\n")
    note = "gained: wrong by labels-only and right by this student; lost: the reverse; of n test images"
    console.answer("zoo.demo/1", results(place), FIELDS, form=None, notes=[note])


def lines(place: Path) -> list[str]:
    """The commands of the demonstration, as they are typed."""
    training = f"--steps {STEPS} --batch-size {BATCH} --lr 0.1 --augment affine --device cpu"
    typed = [
        "split",
        "extract --device cpu",
        "rank --metric parc --weighting p=2",
        "pseudo-label",
        *(f"distill --name {name} {how} {training}" for name, how in STUDENTS.items()),
        f"evaluate accuracy {' '.join(STUDENTS)}",
        "evaluate flips labels-only weighted",
    ]
    return [f"zoo {line} -C {shlex.quote(str(place))}" for line in typed]


def run(line: str) -> None:
    """Run a command line in this process: typer reads it against the parameters of the stage, as if it were typed."""
    words = shlex.split(line)[1:]
    name = next(name for name in registry.COMMANDS if words[: len(name.split())] == name.split())
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(registry.import_target(registry.COMMANDS[name]))
    command(words[len(name.split()) :], standalone_mode=False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small are slower on more threads, and equal threads give equal bits."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _furnish(place: Path, seed: int) -> None:
    """Write what a user would bring along: zoo.toml, models.py and the images, as far as they are not there.

    Raises UsageError for a folder with anything else in it, or with a demonstration of another seed.
    """
    toml, said = place / config.FILE, _toml(seed)
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place} is no folder", "--out another folder")
    standing = files.read_text(toml) if toml.is_file() else None
    if standing != said and place.exists() and any(place.iterdir()):
        what = "holds files and no demonstration" if standing is None else f"has a zoo.toml that is not of seed {seed}"
        raise UsageError(f"{place} {what}", "--out another folder")
    for path, text in ((toml, said), (place / "models.py", NETWORK)):
        if not path.exists():
            files.write_text(path, text)
    for path, content in _images(place / "digits"):
        _write_image(path, content)


def _write_image(path: Path, content: bytes) -> None:
    """Write a file unless it is there: plainly, since 1,797 files that are synced one by one take 18 s."""
    try:
        # A torn file of an interrupted demonstration is not what it should be, and is written again.
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise ZooError(f"cannot write {path}: {error.strerror}", "what was done before is kept") from None


def _toml(seed: int) -> str:
    from zoo_cli.demo import demo_data

    sources = [
        SOURCE.format(
            name=json.dumps(name),
            count=len(classes),
            weights=json.dumps(f"sources/{name}.safetensors"),
            classes=json.dumps(classes),
            trained_on=json.dumps([f"drawn-{name}"]),
            pixels=PIXELS,
        )
        for name, (classes, _) in demo_data.KINDS.items()
    ]
    return TASK.format(seed=seed, pixels=PIXELS) + "".join(sources)


def _images(folder: Path) -> "Iterator[tuple[Path, bytes]]":
    """The digits as PNG files in class folders, named by their number in the set."""
    from PIL import Image

    from zoo_cli.demo import demo_data

    for number, (pixels, label) in enumerate(zip(*demo_data.load_digits(), strict=True)):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        part = "train" if number < TRAIN else "test"
        yield folder / part / str(label) / f"{number:04}.png", stream.getvalue()


def _train_source(settings: Config, source: Source) -> None:
    """Train one source on images drawn for it, and write its weights."""
    import torch

    from zoo_cli.images import augmentation, random_numbers
    from zoo_cli.objectives.supervised import Batch, Supervised
    from zoo_cli.training import loop, students
    from zoo_cli.training.training_config import LoopOptions

    assert isinstance(source.classes, tuple)
    seed = random_numbers.derive_seed(settings.task.seed, source.name)
    network = students.build_student(settings, replace(source, weights=""), None, source.classes, seed)
    said = network.preprocessing
    images, labels = _drawn(source, said, seed)

    def batch(step: int) -> Batch:
        rows, epochs = random_numbers.index_stream(seed, len(labels), step * BATCH, BATCH)
        views = augmentation.augment(
            images[rows], "affine", said.input_size, seed=seed, epoch=epochs, sample=rows, mean=said.mean, std=said.std
        )
        return Batch(views, labels[rows])

    rows: list[dict[str, float]] = []
    loop.train(
        network,
        Supervised(),
        batch,
        LoopOptions(steps=SOURCE_STEPS, lr=0.1, checkpoint_every=0),
        device=torch.device("cpu"),
        seed=seed,
        save=lambda _state: None,
        log=rows.append,
        should_stop=lambda: False,
    )
    path = settings.root / source.weights
    files.write_tensors(path, network.plain_state_dict(), {"format": "pt"})
    console.say(
        f"trained {path} in {SOURCE_STEPS} steps on {SOURCE_IMAGES:,} drawn images of {len(source.classes)} classes: "
        f"{console.percent(rows[-1]['labelled_accuracy'])} right at the end"
    )


def _drawn(source: Source, said: config.Preprocessing, seed: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """The training images of a source as it will see others: uint8 (N, 1, H, W), labels (N,)."""
    import numpy as np
    import torch
    from PIL import Image

    from zoo_cli.demo import demo_data
    from zoo_cli.images import decoding

    images, labels = demo_data.draw_images(source.name, SOURCE_IMAGES, np.random.default_rng(seed))
    views = [decoding.make_view(Image.fromarray(image), said) for image in images]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), torch.from_numpy(labels)


def results(place: Path) -> list[dict[str, Any]]:
    """One row a student: its accuracy on the n test images, and its flips against the one of labels only."""
    from zoo_cli.evaluation import flip_statistics
    from zoo_cli.pipeline.evaluate import predictions

    rows = []
    first = predictions.load_predictions(place / "runs" / "labels-only")
    before = flip_statistics.predicted_classes(first.logits)
    for name in STUDENTS:
        after = flip_statistics.predicted_classes(predictions.load_predictions(place / "runs" / name).aligned(first))
        flips = flip_statistics.compare_predictions(first.labels, before, after, first.classes)
        rows.append(
            {
                "student": name,
                "n": flips.n,
                "accuracy": flips.accuracy_after,
                "gained": flips.positive,
                "lost": flips.negative,
            }
        )
    return rows
