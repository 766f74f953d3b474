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
from zoo_cli.pipeline.image_cache import Pictures
from zoo_cli.pipeline.streams import Streams
from zoo_cli.pipeline.training_options import Course
from zoo_cli.store import feature_store, files
from zoo_cli.training.run_folder import Run, versions

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Batch, Objective
    from zoo_cli.training.loop import Options

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
class Lesson:
    """One run of a command: where it goes, which images it sees, and, made when it is needed, what it learns by.

    `said`: what run.json says of it beyond the course; its keys are those of run.json. `told`: by what it learns, in a
    phrase. `judged`: the rows of its predictions. `targets`, `answers`: see `batches.batches`.
    """

    path: Path
    streams: Streams
    options: "Options"
    said: Mapping[str, Any]
    told: str
    student: "Callable[[], Student]"
    objective: "Callable[[Student, torch.device], Objective]"
    judged: "np.ndarray"
    targets: "Callable[[], torch.Tensor | None] | None" = None
    answers: "Callable[[Pictures, Student], torch.Tensor] | None" = None
    strong: bool = False


def teach(lessons: Sequence[Lesson], course: Course, task: str, shared: Pictures | None = None) -> list[dict[str, Any]]:
    """Train the students that are not there yet, one after the other from one decoding; a row of each run's log.

    Raises UsageError where a run of another making stands in the place of one of them, before any is trained;
    Interrupted or Paused, after a checkpoint, when a signal came or the time of the course is over.
    """
    device = course.device() if shared is None else shared.device
    runs = [begun(lesson, course, task, device) for lesson in lessons]
    todo = [(run, lesson) for run, lesson in zip(runs, lessons, strict=True) if not run.finished]
    if shared is None and todo:
        shared = sharing([lesson for _, lesson in todo], device, course.workers)
    for run, lesson in zip(runs, lessons, strict=True):
        if run.finished:
            console.say(f"{run.path} is up to date")
            continue
        assert shared is not None
        started = time.monotonic()
        console.say(f"training {run.path}: {length(lesson.options, course)}, {lesson.told}")
        _train(run, lesson, course, shared)
        spent = {"seconds": round(time.monotonic() - started, 1)}
        files.write_json(run.path.with_name(f"{run.path.name}.log.json"), spent)
    return [row(run.path) for run in runs]


def sharing(lessons: Sequence[Lesson], device: "torch.device", workers: int | None) -> Pictures:
    """The images of the lessons; those by which they are judged are kept too, where several students are."""
    import numpy as np

    def of(rows: "list[np.ndarray]") -> Pictures:
        return Pictures(lessons[0].streams.images, np.unique(np.concatenate(rows)), device, workers)

    shared = of([lesson.streams.rows for lesson in lessons])
    if len(lessons) > 1:
        shared.judges = of([lesson.judged for lesson in lessons])
    return shared


def teach_to(lessons: Sequence[Lesson], course: Course, task: str, shared: Pictures) -> dict[str, Any]:
    """Teach lessons of which each builds on those before it; the row of the last one.

    The folders of the others lie in that of the last. Where its student is there, the others are not asked for.
    """
    last = begun(lessons[-1], course, task, shared.device)
    if last.finished:
        console.say(f"{last.path} is up to date")
        return row(last.path)
    # What is to be made again has been cleared with the last one's folder.
    return teach(lessons, replace(course, overwrite=False), task, shared)[-1]


def length(options: "Options", course: Course) -> str:
    """How long a run is, in a phrase."""
    return f"{options.steps:,} steps of {course.batch_size} images"


def row(path: Path) -> dict[str, Any]:
    """What is answered of a run: the last row of its log, its name and its place."""
    last = files.read_lines(path / "metrics.jsonl")[-1]
    return {**last, "run": path.name, "steps": last["step"], "path": str(path)}


def saying(course: Course, options: "Options", seed: int) -> dict[str, Any]:
    """What run.json says of a course under "options"."""
    return {
        **{key: value for key, value in asdict(options).items() if key not in FREE},
        "batch_size": course.batch_size,
        "augment": course.augment,
        "unlabelled_from": course.unlabelled_from,
        "recalibrate": course.recalibrate,
        "seed": seed,
    }


def begun(lesson: Lesson, course: Course, task: str, device: "torch.device") -> Run:
    """The run of a lesson, its folder made or found to be of this very run. Raises UsageError naming what differs."""
    said = {
        "weights": [],
        **lesson.said,
        "options": {**saying(course, lesson.options, lesson.streams.seed), **lesson.said.get("options", {})},
        "inputs": {**lesson.streams.inputs(lesson.judged), **lesson.said.get("inputs", {})},
        "task": task,
        "device": device.type,
        "threads": devices.threads(),
        "versions": versions(),
    }
    run = Run(lesson.path, feature_store.plain(said))
    run.begin(overwrite=course.overwrite)
    return run


def _train(run: Run, lesson: Lesson, course: Course, shared: Pictures) -> None:
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
        recalibrate(student, lesson.streams, course, shared)
    students.finish(run, student, shared, lesson.judged)


def recalibrate(student: "Student", streams: Streams, course: Course, shared: Pictures) -> None:
    """Estimate the batch-norm statistics of a student anew, from the evaluation views of the images of its streams.

    They come mixed, because a batch of one class varies too little, and in batches of nearly one size, none of one
    image, which does not vary at all.
    """
    from zoo_cli.images import random_numbers
    from zoo_cli.models import batch_norm

    rows = streams.rows
    mixed = rows[random_numbers.permutation(random_numbers.derived(streams.seed, "recalibrate"), 0, len(rows)).numpy()]
    size = math.ceil(len(rows) / math.ceil(len(rows) / course.batch_size))
    while len(rows) % size == 1:
        size += 1
    batch_norm.recalibrate(student, shared.clean(student.preprocessing, mixed, size))


def _pace(
    student: "Student",
    objective: "Objective",
    batches: "Callable[[int], Batch]",
    options: "Options",
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
