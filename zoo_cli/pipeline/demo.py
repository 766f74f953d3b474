"""The demonstration: the whole pipeline on handwritten digits, with sources that it trains itself; offline."""

import io
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from zoo_cli import command_table, config, console, interruption, registry
from zoo_cli.config import Config, Preprocessing, Source
from zoo_cli.demo import demo_data, demo_texts
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.evaluation import flip_statistics, predictions
from zoo_cli.images import augmentation, decoding, random_numbers
from zoo_cli.objectives.supervised import Batch, Supervised
from zoo_cli.quantities import percent
from zoo_cli.store import commits, files
from zoo_cli.training import loop, students
from zoo_cli.training.training_config import LoopOptions

SOURCE_STEPS, SOURCE_IMAGES = 200, 1500
STEPS, BATCH = 300, 64
TRAIN = 1200
"""The number of training images, the first of the 1,797 digits; the others are the test images."""
STUDENTS = {
    "labels-only": "--lam 1",
    "equal": "--lam 0.5 --weighting equal",
    "nearest": "--lam 0.5 --weighting nearest",
    "weighted": "--lam 0.5 --weighting p=2",
    "heads": "--objective heads",
}
"""The students by their run's name, each with the flags in which it differs from the others."""


@dataclass(frozen=True)
class DemoRow:
    """A student: its accuracy on n test images, and its flips (`gained`, `lost`) against the student of labels only."""

    student: str
    n: int
    accuracy: float
    gained: int
    lost: int


def run_demo(folder: Path | None, seed: int) -> list[DemoRow]:
    """Run the demonstration in a folder, by default a new temporary one; its commands and their output go to stdout.

    What an earlier demonstration finished there is kept. Raises UsageError for a folder with anything else in it,
    or if an extra package is missing.
    """
    demo_data.check_packages()
    workspace = Path(tempfile.mkdtemp(prefix="zoo-demo-")) if folder is None else folder
    with _one_thread():
        _write_inputs(workspace, seed)
        again = f"zoo demo --out {shlex.quote(str(workspace))}" + (f" --seed {seed}" if seed else "")
        console.say(f"working in {workspace}, which is kept; `{again}` resumes it after an interruption")
        settings = config.load(workspace)
        for source in settings.sources:
            if not (workspace / source.weights).exists():
                _train_source(settings, source)
        for line in list_commands(workspace):
            interruption.check()
            console.current().answer(f"\n$ {line}")
            run_command(line)
    console.say(f"next: zoo report -C {shlex.quote(str(workspace))} (one page to look at)")
    return compare_students(workspace)


def list_commands(workspace: Path) -> list[str]:
    """The commands of the demonstration, as one would type them."""
    training = f"--steps {STEPS} --batch-size {BATCH} --lr 0.1 --augment affine --device cpu"
    commands = [
        "split",
        "extract --device cpu",
        "rank --metric parc --weighting p=2",
        "pseudo-label",
        "pseudo-label --head ridge",
        *(f"distill --name {name} {flags} {training}" for name, flags in STUDENTS.items()),
        f"evaluate accuracy {' '.join(STUDENTS)}",
        "evaluate flips labels-only heads",
    ]
    return [f"zoo {command} -C {shlex.quote(str(workspace))}" for command in commands]


def run_command(line: str) -> None:
    """Run a command line in this process: typer parses it with the parameters of the command, as if it were typed."""
    words = shlex.split(line)[1:]
    name = next(name for name in command_table.COMMANDS if words[: len(name.split())] == name.split())
    command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    command.command()(registry.import_target(command_table.COMMANDS[name]))
    command(words[len(name.split()) :], standalone_mode=False)


def compare_students(workspace: Path) -> list[DemoRow]:
    """A row for each student of a finished demonstration."""
    rows = []
    reference = predictions.load_predictions(workspace / "runs" / "labels-only")
    before = flip_statistics.predicted_classes(reference.logits)
    for name in STUDENTS:
        after = predictions.load_predictions(workspace / "runs" / name).align_classes(reference)
        flips = flip_statistics.compare_predictions(reference.labels, before, after, reference.classes)
        rows.append(DemoRow(name, flips.n, flips.accuracy_after, flips.positive, flips.negative))
    return rows


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread of torch: networks this small are slower on several, and equal threads give equal bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _write_inputs(workspace: Path, seed: int) -> None:
    """Write what a user would provide: zoo.toml, models.py and the images, unless they are there.

    Raises UsageError for a folder with anything else in it, or with a demonstration of another seed.
    """
    toml, text = workspace / config.FILE, demo_texts.format_toml(seed)
    if workspace.exists() and not workspace.is_dir():
        raise UsageError(f"{workspace} is not a folder", "--out another folder")
    existing = files.read_text(toml) if toml.is_file() else None
    if existing != text and workspace.exists() and not all(map(commits.is_leftover, workspace.iterdir())):
        what = "contains other files" if existing is None else f"has a zoo.toml of another seed than {seed}"
        raise UsageError(f"{workspace} {what}", "--out another folder")
    for path, content in ((toml, text), (workspace / "models.py", demo_texts.NETWORK)):
        if not path.exists():
            files.write_text(path, content)
    for path, encoded in _encode_digits(workspace / "digits"):
        _write_image(path, encoded)


def _encode_digits(folder: Path) -> Iterator[tuple[Path, bytes]]:
    """The digits as PNG files in class folders, named by their number in the set."""
    for number, (pixels, label) in enumerate(zip(*demo_data.load_digits(), strict=True)):
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "PNG")
        part = "train" if number < TRAIN else "test"
        yield folder / part / str(label) / f"{number:04}.png", stream.getvalue()


def _write_image(path: Path, content: bytes) -> None:
    """Write a file unless it is there; without a sync, which would take 18 s for 1,797 files."""
    try:
        # A file that an interruption truncated differs, and is written again.
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise ZooError(f"cannot write {path}: {error.strerror}", "what was written before is kept") from None


def _train_source(settings: Config, source: Source) -> None:
    """Train a source on the images that are drawn for it, and write its weights."""
    assert isinstance(source.classes, tuple)
    seed = random_numbers.derive_seed(settings.task.seed, source.name)
    network = students.build_student(settings, replace(source, weights=""), None, source.classes, seed)
    view = network.preprocessing
    images, labels = _draw_images(source, view, seed)

    def batch(step: int) -> Batch:
        rows, epochs = random_numbers.index_stream(seed, len(labels), step * BATCH, BATCH)
        views = augmentation.augment(
            images[rows], "affine", view.input_size, seed=seed, epoch=epochs, sample=rows, mean=view.mean, std=view.std
        )
        return Batch(views, labels[rows])

    log: list[dict[str, float]] = []
    loop.train(
        network,
        Supervised(),
        batch,
        LoopOptions(steps=SOURCE_STEPS, lr=0.1, checkpoint_every=0),
        device=torch.device("cpu"),
        seed=seed,
        save=lambda _state: None,
        log=log.append,
        should_stop=lambda: False,
    )
    path = settings.root / source.weights
    files.write_tensors(path, network.plain_state_dict(), {"format": "pt"})
    console.say(
        f"trained {path} for {SOURCE_STEPS} steps on {SOURCE_IMAGES:,} drawn images of {len(source.classes)} classes, "
        f"final accuracy {percent(log[-1]['labelled_accuracy'])}"
    )


def _draw_images(source: Source, preprocessing: Preprocessing, seed: int) -> tuple[Tensor, Tensor]:
    """The training images of a source, preprocessed for it: tensors uint8 (N, 1, H, W) and labels (N,)."""
    images, labels = demo_data.draw_images(source.name, SOURCE_IMAGES, np.random.default_rng(seed))
    views = [decoding.make_view(Image.fromarray(image), preprocessing) for image in images]
    return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), torch.from_numpy(labels)
