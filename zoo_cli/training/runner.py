"""Training the students of a command one after another, each from its last checkpoint."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

from zoo_cli import collectives, console, devices, interruption, invocation, ranks
from zoo_cli.errors import Interrupted, Paused, ZooError
from zoo_cli.images import random_numbers
from zoo_cli.models import batch_norm
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Batch
from zoo_cli.progress import Progress
from zoo_cli.quantities import duration
from zoo_cli.store import feature_store, files, free_space
from zoo_cli.store.checksums import SUMS, WRITTEN_LAST, is_finished
from zoo_cli.store.lease import LeaseLost
from zoo_cli.store.swap import run_place
from zoo_cli.training import batches, loop, step_time, students
from zoo_cli.training.consistent_batches import make_consistent_batch_fn
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.memory_probe import RandomImages, measure_training_memory
from zoo_cli.training.run_folder import RunFolder, library_versions
from zoo_cli.training.run_record import RunResult, load_result, log_file, recorded_options
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.streams import IndexStreams
from zoo_cli.training.training_config import LoopOptions, ResolvedTraining, describe_length

GO_ON, TIME_LIMIT = -1, 0
"""Reasons to stop beside the numbers of signals."""


def train_runs(
    specs: Sequence[RunSpec], training: ResolvedTraining, *, cache: ImageCache | None = None
) -> list[RunResult]:
    """Train the students that are not finished, one after another; the images are decoded once.

    Raises UsageError, before any is trained, if a folder holds another run, or another process makes one in it;
    Interrupted or Paused, after writing a checkpoint, on a signal or at the time limit.
    """
    device = devices.choose(training.device, purpose="training") if cache is None else cache.device
    check_runs(specs, training, device)
    for number, spec in enumerate(specs):
        with open_run(spec, training, device) as run:
            if run.finished:
                console.say(f"{run.place} is up to date")
                continue
            with computing(training, device):
                student = _build_student(run, spec, device)
            cache = cache or cache_images(_unfinished(specs[number:]), device, training)
            started = time.monotonic()
            length = describe_length(spec.options, training.batch_size)
            console.say(f"training {run.place}: {length}, {spec.description}")
            with computing(training, device):
                first_step = _train(run, spec, training, cache, student)
            seconds = round(time.monotonic() - started, 1)
            if ranks.is_first():
                resumed = {"from_step": first_step} if first_step else {}
                files.write_json(log_file(run.place), {"seconds": seconds, **resumed, **_own_command(run)})
    return [load_result(run_place(spec.path)) for spec in specs]


def _unfinished(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """The runs that are to be trained, the first of them among them."""
    finished = ranks.first_does(lambda: [is_finished(spec.path) for spec in specs[1:]])
    return [specs[0], *(spec for spec, done in zip(specs[1:], finished, strict=True) if not done)]


@contextmanager
def computing(training: ResolvedTraining, device: torch.device) -> Iterator[None]:
    """The context in which a training command runs networks; the steps themselves add autocast for bf16."""
    with (
        devices.arithmetic(device, training.loop.precision, cast=False),
        devices.algorithms(device, deterministic=training.deterministic),
    ):
        yield


def train_in_sequence(specs: Sequence[RunSpec], training: ResolvedTraining, cache: ImageCache) -> RunResult:
    """Train runs that each start from the one before; the result of the last.

    The folders of the others are inside that of the last, and are not read once it is finished.
    """
    with open_run(specs[-1], training, cache.device) as last:
        if last.finished:
            console.say(f"{last.place} is up to date")
            return load_result(last.place)
        return [train_runs([spec], training, cache=cache)[0] for spec in specs][-1]


def cache_images(specs: Sequence[RunSpec], device: torch.device, training: ResolvedTraining) -> ImageCache:
    """The cache of the training images of runs; for several runs, also of the images that they predict."""
    images, workers, place = specs[0].streams.images, training.workers, training.images
    predicted = None
    if len(specs) > 1:
        rows = np.unique(np.concatenate([spec.predicted for spec in specs]))
        predicted = ImageCache(images, rows, device, workers, place=place)
    rows = np.unique(np.concatenate([spec.streams.rows for spec in specs]))
    return ImageCache(images, rows, device, workers, predicted, place)


def check_runs(specs: Sequence[RunSpec], training: ResolvedTraining, device: torch.device) -> None:
    """Raise UsageError if a folder holds another run, or another process makes one in it. Nothing is written."""
    for spec in specs:
        ranks.first_does(_run_folder(spec, training, device).check)


@contextmanager
def open_run(spec: RunSpec, training: ResolvedTraining, device: torch.device) -> Iterator[RunFolder]:
    """The folder of a run, made or checked to hold this run, and leased. Raises UsageError, naming what differs."""
    run = _run_folder(spec, training, device)
    with run.opened(training.wait):
        if not run.finished and ranks.is_first() and (command := _own_command(run)):
            files.write_json(log_file(run.place), command)
        with _failure_logged(run):
            yield run


@contextmanager
def _failure_logged(run: RunFolder) -> Iterator[None]:
    """The context in which a run is trained: why it failed is kept in its log, for `zoo status`."""
    try:
        yield
    except ZooError as error:
        goes_on = isinstance(error, Interrupted | Paused | LeaseLost)
        is_own = run.lease is not None and run.lease.folder == run.place and not run.finished
        if is_own and not goes_on and ranks.is_first():
            with suppress(ZooError):
                files.write_json(log_file(run.place), {"error": error.message, **_own_command(run)})
        raise


def _own_command(run: RunFolder) -> dict[str, str]:
    """The command that makes a run, for its log; nothing for a run inside another one, and outside a command."""
    command = invocation.describe_command()
    return {"command": command} if command and run.lease is not None and run.lease.folder == run.place else {}


def _run_folder(spec: RunSpec, training: ResolvedTraining, device: torch.device) -> RunFolder:
    """The folder of a run with what its run.json shall hold."""
    options = recorded_options(training, spec.options, spec.streams.seed)
    record = {
        "weights": [],
        **spec.record,
        "options": {**options, **spec.record.get("options", {})},
        "inputs": {**spec.streams.inputs(spec.predicted), **spec.record.get("inputs", {})},
        **devices.describe_device(device),
        "threads": devices.threads(),
        "deterministic": training.deterministic,
        "versions": library_versions(),
        **({"processes": ranks.world_size()} if ranks.world_size() > 1 else {}),
        "asked": {**_asked_length(training), **spec.record.get("asked", {})},
        WRITTEN_LAST: SUMS,
    }
    return RunFolder(spec.path, feature_store.to_json_values(record))


def _asked_length(training: ResolvedTraining) -> dict[str, float]:
    """The length as the user set it: epochs are other numbers of steps in another task."""
    return {"steps": training.loop.steps} if training.epochs is None else {"epochs": training.epochs}


def _build_student(run: RunFolder, spec: RunSpec, device: torch.device) -> Student:
    """The student as it starts. Raises UsageError if its files will not fit, before an image is decoded for it."""
    collectives.connect(device)
    student = spec.build_student()
    ranks.first_does(lambda: _check_space(run, student, spec.options))
    return student


def _train(run: RunFolder, spec: RunSpec, training: ResolvedTraining, cache: ImageCache, student: Student) -> int:
    """Train one student, from the last checkpoint if there is one, and write its files; the step it began at."""
    options, device = spec.options, cache.device
    objective = spec.build_objective(student, device)
    targets = None if spec.load_targets is None else spec.load_targets()
    graph = device.type == "cuda" and training.compile != "off" and ranks.world_size() == 1
    graph = graph and spec.build_batches is None
    if cache.needs_reserve:
        rehearsal = _make_batch_fn(spec, student, training, RandomImages(cache), targets)
        cache.reserve(measure_training_memory(student, objective, rehearsal, options, device, graph=graph))
    batch_fn = _make_batch_fn(spec, student, training, cache, targets)
    state = run.state()
    done = 0 if state is None else state.step
    channels_last = device.type == "cuda" or run.record.get("memory_format") == "channels_last"
    if done < options.steps:
        remaining = options.steps - done
        layouts = [channels_last]
        if state is None and step_time.may_gain(student.preprocessing.input_size, remaining, device):
            layouts = [False, True]
        seconds = step_time.time_steps(student, objective, batch_fn, options, device, layouts)
        channels_last = ranks.first_does(lambda: step_time.choose_layout(seconds))
        console.say(f"step {done:,} of {options.steps:,}, eta {duration(seconds[channels_last] * remaining)}")
    if state is None:
        run.add_to_record("memory_format", "channels_last" if channels_last else "contiguous")
    run.truncate_log(done)

    reason = GO_ON

    def should_stop() -> bool:
        nonlocal reason
        progress.advance(1)
        # A signal to one process of a job stops all of them after the same step.
        reason = collectives.greatest(_reason_to_stop(training))
        return reason != GO_ON

    with interruption.deferred(), Progress("train", options.steps, "steps") as progress:
        progress.skip(done)
        outcome = loop.train(
            student,
            objective,
            batch_fn,
            options,
            device=device,
            seed=spec.streams.seed,
            resume=state,
            save=run.save,
            log=run.log,
            should_stop=should_stop,
            channels_last=channels_last,
            graph=graph,
        )
    if outcome.stopped:
        ranks.gather(outcome.step)  # no process leaves before the checkpoint is written
        if reason != TIME_LIMIT:
            raise Interrupted(reason)
        raise Paused(
            f"the time limit is over at step {outcome.step:,}", "run the same command to continue from the checkpoint"
        )
    if non_finite := ranks.first_does(lambda: _finish(run, student, spec, training, cache)):
        raise loop.NonFinite(outcome.step, non_finite)
    return done


def _check_space(run: RunFolder, student: Student, options: LoopOptions) -> None:
    """Raise UsageError if the files of a run will not fit: the student and, meanwhile, a checkpoint or two."""
    size = sum(tensor.nbytes for tensor in student.state_dict().values())
    momentum = sum(parameter.nbytes for parameter in student.parameters()) if options.momentum else 0
    # One at the end at least, each written beside the one before; one that is there needs no more room.
    saved = 1 + ((options.steps - 1) // options.checkpoint_every if options.checkpoint_every else 0)
    count = min(2, saved) - any(run.path.glob("state/step-*.safetensors"))
    free_space.check_space(run.path, size + max(0, count) * (size + momentum), 0, f"{run.place} and its checkpoints")


def _finish(
    run: RunFolder, student: Student, spec: RunSpec, training: ResolvedTraining, cache: ImageCache
) -> str | None:
    """Write the files of a trained student; what is not finite in it, None as a rule."""
    if training.recalibrate:
        recalibrate_student(student, spec.streams, training, cache)
    try:
        if spec.write_files is None:
            students.write_student(run, student, cache, spec.predicted, spec.list_seen(), spec.describe_lineage())
        else:
            spec.write_files(run, student, cache, spec.list_seen())
    except loop.NonFinite as error:
        return error.what
    return None


def _reason_to_stop(training: ResolvedTraining) -> int:
    """The number of the signal that has arrived, TIME_LIMIT or GO_ON."""
    return interruption.pending() or (TIME_LIMIT if training.past_deadline() else GO_ON)


def _make_batch_fn(
    spec: RunSpec, student: Student, training: ResolvedTraining, cache: ImageCache, targets: Tensor | None
) -> Callable[[int], Batch]:
    """The function from a step of a run to its batch."""
    if spec.build_batches is not None:
        return spec.build_batches(cache, student)
    if spec.views is not None:
        assert targets is not None, "views are stored for the sake of their targets"
        return make_consistent_batch_fn(cache, spec.streams, student.preprocessing, spec.views, targets)
    teacher_logits = None
    if spec.load_teacher_logits is not None and isinstance(cache, RandomImages):
        teacher_logits = torch.zeros(1, spec.stored_teachers, len(spec.streams.rows), len(student.classes))
    elif spec.load_teacher_logits is not None:
        teacher_logits = spec.load_teacher_logits(cache, student)
    return batches.make_batch_fn(
        cache,
        spec.streams,
        student.preprocessing,
        training.augment,
        targets=targets,
        teacher_logits=teacher_logits,
        strong_views=spec.strong_views,
    )


def recalibrate_student(student: Student, streams: IndexStreams, training: ResolvedTraining, cache: ImageCache) -> None:
    """Re-estimate the batch-norm statistics of a student from the evaluation views of its training images.

    The images are shuffled, because a batch of a single class varies too little, and the batches have nearly equal
    sizes, none a single image, which has no variance.
    """
    rows = streams.rows
    seed = random_numbers.derive_seed(streams.seed, "recalibrate")
    shuffled = rows[random_numbers.permutation(seed, 0, len(rows)).numpy()]
    size = math.ceil(len(rows) / math.ceil(len(rows) / training.batch_size))
    while len(rows) % size == 1:
        size += 1
    batch_norm.recalibrate(student, cache.evaluation_views(student.preprocessing, shuffled, size))
