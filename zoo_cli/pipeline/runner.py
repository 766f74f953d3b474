"""How students are taught: the two streams of images, the lesson of one run, and the lessons of a command in turn."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, devices, interruption
from zoo_cli.errors import Interrupted, Paused
from zoo_cli.pipeline import batches, students
from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.pipeline.streams import IndexStreams
from zoo_cli.pipeline.training_options import TrainingOptions
from zoo_cli.store import feature_store, files
from zoo_cli.training.run_folder import RunFolder, library_versions

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Batch, Objective
    from zoo_cli.training.loop import LoopOptions

TIMED = 2
FREE = ("checkpoint_every", "log_every")
"""Options on which the student does not depend."""
FIELDS = (
    console.Field("run"),
    console.Field("steps", style=","),
    console.Field("loss", style=".4f"),
    console.Field("labelled_accuracy", "labelled", "percent"),
    console.Field("path"),
)


@dataclass(frozen=True)
class RunSpec:
    """One run of a command: where it goes, which images it sees, and, made when it is needed, what it learns by.

    `said`: what run.json says of it beyond the course; its keys are those of run.json. `told`: by what it learns, in a
    phrase. `judged`: the rows of its predictions. `targets`, `answers`: see `batches.batches`.
    """

    path: Path
    streams: IndexStreams
    options: "LoopOptions"
    said: Mapping[str, Any]
    told: str
    student: "Callable[[], Student]"
    objective: "Callable[[Student, torch.device], Objective]"
    judged: "np.ndarray"
    targets: "Callable[[], torch.Tensor | None] | None" = None
    answers: "Callable[[ImageCache, Student], torch.Tensor] | None" = None
    strong: bool = False


def train_runs(
    lessons: Sequence[RunSpec], course: TrainingOptions, task: str, shared: ImageCache | None = None
) -> list[dict[str, Any]]:
    """Train the students that are not there yet, one after the other from one decoding; a row of each run's log.

    Raises UsageError where a run of another making stands in the place of one of them, before any is trained;
    Interrupted or Paused, after a checkpoint, when a signal came or the time of the course is over.
    """
    device = course.device() if shared is None else shared.device
    runs = [open_run(lesson, course, task, device) for lesson in lessons]
    todo = [(run, lesson) for run, lesson in zip(runs, lessons, strict=True) if not run.finished]
    if shared is None and todo:
        shared = share_images([lesson for _, lesson in todo], device, course.workers)
    for run, lesson in zip(runs, lessons, strict=True):
        if run.finished:
            console.say(f"{run.path} is up to date")
            continue
        assert shared is not None
        started = time.monotonic()
        console.say(f"training {run.path}: {describe_length(lesson.options, course)}, {lesson.told}")
        _train(run, lesson, course, shared)
        spent = {"seconds": round(time.monotonic() - started, 1)}
        files.write_json(run.path.with_name(f"{run.path.name}.log.json"), spent)
    return [load_result(run.path) for run in runs]


def share_images(lessons: Sequence[RunSpec], device: "torch.device", workers: int | None) -> ImageCache:
    """The images of the lessons; those by which they are judged are kept too, where several students are."""
    import numpy as np

    def of(rows: "list[np.ndarray]") -> ImageCache:
        return ImageCache(lessons[0].streams.images, np.unique(np.concatenate(rows)), device, workers)

    shared = of([lesson.streams.rows for lesson in lessons])
    if len(lessons) > 1:
        shared.judges = of([lesson.judged for lesson in lessons])
    return shared


def train_in_sequence(
    lessons: Sequence[RunSpec], course: TrainingOptions, task: str, shared: ImageCache
) -> dict[str, Any]:
    """Teach lessons of which each builds on those before it; the row of the last one.

    The folders of the others lie in that of the last. Where its student is there, the others are not asked for.
    """
    last = open_run(lessons[-1], course, task, shared.device)
    if last.finished:
        console.say(f"{last.path} is up to date")
        return load_result(last.path)
    # What is to be made again has been cleared with the last one's folder.
    return train_runs(lessons, replace(course, overwrite=False), task, shared)[-1]


def describe_length(options: "LoopOptions", course: TrainingOptions) -> str:
    """How long a run is, in a phrase."""
    return f"{options.steps:,} steps of {course.batch_size} images"


def load_result(path: Path) -> dict[str, Any]:
    """What is answered of a run: the last row of its log, its name and its place."""
    last = files.read_lines(path / "metrics.jsonl")[-1]
    return {**last, "run": path.name, "steps": last["step"], "path": str(path)}


def recorded_options(course: TrainingOptions, options: "LoopOptions", seed: int) -> dict[str, Any]:
    """What run.json says of a course under "options"."""
    return {
        **{key: value for key, value in asdict(options).items() if key not in FREE},
        "batch_size": course.batch_size,
        "augment": course.augment,
        "unlabelled_from": course.unlabelled_from,
        "recalibrate": course.recalibrate,
        "seed": seed,
    }


def open_run(lesson: RunSpec, course: TrainingOptions, task: str, device: "torch.device") -> RunFolder:
    """The run of a lesson, its folder made or found to be of this very run. Raises UsageError naming what differs."""
    said = {
        "weights": [],
        **lesson.said,
        "options": {**recorded_options(course, lesson.options, lesson.streams.seed), **lesson.said.get("options", {})},
        "inputs": {**lesson.streams.inputs(lesson.judged), **lesson.said.get("inputs", {})},
        "task": task,
        "device": device.type,
        "threads": devices.threads(),
        "versions": library_versions(),
    }
    run = RunFolder(lesson.path, feature_store.to_json_values(said))
    run.begin(overwrite=course.overwrite)
    return run


def _train(run: RunFolder, lesson: RunSpec, course: TrainingOptions, shared: ImageCache) -> None:
    """Train one student, from the last checkpoint where there is one, and write what it has become."""
    from zoo_cli.training import loop

    options, device = lesson.options, shared.device
    targets = None if lesson.targets is None else lesson.targets()
    student = lesson.student()
    objective = lesson.objective(student, device)
    said = student.preprocessing
    made = batches.batches(
        shared,
        lesson.streams,
        said,
        course.augment,
        targets=targets,
        answers=None if lesson.answers is None else lesson.answers(shared, student),
        strong=lesson.strong,
    )
    state = run.state()
    done = 0 if state is None else state.step
    if done < options.steps:
        left = console.duration(_pace(student, objective, made, options, device) * (options.steps - done))
        console.say(f"step {done:,} of {options.steps:,}, eta {left}")
    run.log_from(done)

    def should_stop() -> bool:
        progress.advance(1)
        late = course.deadline is not None and time.monotonic() >= course.deadline
        return interruption.pending() is not None or late

    with interruption.deferred(), console.Progress("train", options.steps, "step") as progress:
        progress.skip(done)
        outcome = loop.train(
            student,
            objective,
            made,
            options,
            device=device,
            seed=lesson.streams.seed,
            resume=state,
            save=run.save,
            log=run.log,
            should_stop=should_stop,
        )
    if outcome.stopped:
        signum = interruption.pending()
        if signum is not None:
            raise Interrupted(signum)
        raise Paused(f"--max-time is over at step {outcome.step:,}", "the same command goes on from its checkpoint")
    if course.recalibrate:
        recalibrate_student(student, lesson.streams, course, shared)
    students.write_student(run, student, shared, lesson.judged)


def recalibrate_student(student: "Student", streams: IndexStreams, course: TrainingOptions, shared: ImageCache) -> None:
    """Estimate the batch-norm statistics of a student anew, from the evaluation views of the images of its streams.

    They come mixed, because a batch of one class varies too little, and in batches of nearly one size, none of one
    image, which does not vary at all.
    """
    from zoo_cli.images import random_numbers
    from zoo_cli.models import batch_norm

    rows = streams.rows
    mixed = rows[
        random_numbers.permutation(random_numbers.derive_seed(streams.seed, "recalibrate"), 0, len(rows)).numpy()
    ]
    size = math.ceil(len(rows) / math.ceil(len(rows) / course.batch_size))
    while len(rows) % size == 1:
        size += 1
    batch_norm.recalibrate(student, shared.clean(student.preprocessing, mixed, size))


def _pace(
    student: "Student",
    objective: "Objective",
    batches: "Callable[[int], Batch]",
    options: "LoopOptions",
    device: "torch.device",
) -> float:
    """Seconds a step, from a few steps of a copy that is thrown away."""
    import copy

    import torch

    from zoo_cli.training import loop

    times: list[float] = []

    def tick() -> bool:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic())
        return False

    tick()
    loop.train(
        copy.deepcopy(student),
        copy.deepcopy(objective),
        batches,
        replace(options, steps=TIMED, warmup=0, lr=0.0, log_every=0, checkpoint_every=0),
        device=device,
        seed=0,
        save=lambda _state: None,
        log=lambda _row: None,
        should_stop=tick,
    )
    tick()
    return times[-1] - times[-2]
