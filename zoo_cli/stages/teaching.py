"""What a student is taught with: the pseudo-labels of the weighted sources, the two streams of images, the lesson."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zoo_cli import console, interruption
from zoo_cli.errors import ContractError, Interrupted, Paused, UsageError
from zoo_cli.stages import devices, students
from zoo_cli.stages.runs import Run

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.data.images import Images
    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Batch
    from zoo_cli.training import Options

TIMED = 2


@dataclass(frozen=True)
class Target:
    """The stored pseudo-labels of one source, and its weight in the loss."""

    name: str
    path: Path
    weight: float
    output: str
    digest: str


def pick(weights: Mapping[str, float], least: float) -> dict[str, float]:
    """The sources whose weight is `least` or more, their weights renormalised. Says what is left out."""
    kept = {name: weight for name, weight in weights.items() if weight > 0 and weight >= least}
    if not kept:
        raise UsageError(f"no source has a weight of at least {least:g}", "lower --min-weight, or take --lam 1")
    dropped = [weight for name, weight in weights.items() if name not in kept and weight > 0]
    if dropped:
        console.say(
            f"{len(dropped)} sources below --min-weight {least:g} are left out: weight {sum(dropped):.2g} in all"
        )
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def told(targets: Sequence[Target]) -> str:
    """The sources and weights in a phrase."""
    if not targets:
        return "labels only"
    first = sorted(targets, key=lambda target: -target.weight)
    named = ", ".join(f"{target.name} {target.weight:.2f}" for target in first[:4])
    return f"from {named}" + (f" and {len(first) - 4} more" if len(first) > 4 else "")


@dataclass(frozen=True)
class Streams:
    """The rows (of the manifest) of the labelled and the unlabelled stream, and how many of each are in a batch."""

    images: "Images"
    labelled: "np.ndarray"
    unlabelled: "np.ndarray"
    batch: tuple[int, int]
    seed: int

    @classmethod
    def of(cls, images: "Images", batch_size: int, lam: float, unlabelled_from: str, seed: int) -> "Streams":
        """Half a batch labelled, half unlabelled; with lam 1 all of it labelled."""
        splits = ("labelled", "unlabelled") if unlabelled_from == "all" else ("unlabelled",)
        labelled, unlabelled = images.where(split=("labelled",)), images.where(split=splits)
        if not len(labelled):
            raise UsageError("no labelled image to train on", "zoo split --labelled says how many")
        if not len(unlabelled) and lam < 1:
            raise UsageError("no unlabelled image to distil on", "--unlabelled-from all takes the labelled ones too")
        half = batch_size // 2
        return cls(images, labelled, unlabelled, (batch_size, 0) if lam == 1 else (batch_size - half, half), seed)

    def steps(self, epochs: float, batch_size: int) -> int:
        """So many passes over the unlabelled images, counted in half batches whatever lam is: equal steps for all."""
        count = len(self.unlabelled) or len(self.labelled)
        return max(1, round(epochs * count / max(1, batch_size // 2)))

    def inputs(self) -> dict[str, str]:
        """Digests of what a run reads of the manifest; the truth is not among it."""
        test = self.images.where(split=("test",))
        return {
            "labelled images": self.images.fingerprint(self.labelled, "ids", "sha256", "labels"),
            "unlabelled images": self.images.fingerprint(self.unlabelled, "ids", "sha256") if self.batch[1] else "",
            "test images": self.images.fingerprint(test, "ids", "sha256"),
        }


@dataclass(frozen=True)
class Lesson:
    """One run: its folder, its images, its targets and how it goes."""

    run: Run
    streams: Streams
    targets: Sequence[Target]
    options: "Options"
    lam: float
    temperature: float
    augment: str


def train(
    lesson: Lesson, student: "Student", device: "torch.device", workers: int | None, deadline: float | None
) -> None:
    """Train the student, from the last checkpoint where there is one, and write what it has become.

    Raises Interrupted or Paused, after a checkpoint, when a signal came or the deadline (time.monotonic) passed.
    """
    import torch

    from zoo_cli import training
    from zoo_cli.objectives.cross_task import CrossTask

    run, streams = lesson.run, lesson.streams
    stored = _targets(lesson)
    generator = torch.Generator().manual_seed(streams.seed)
    objective = CrossTask(
        student.features_dim,
        [values.shape[1] for values in stored],
        [target.output for target in lesson.targets],  # type: ignore[misc]
        [target.weight for target in lesson.targets],
        generator,
        lam=lesson.lam,
        temperature=lesson.temperature,
    )
    batches = _batches(lesson, student, stored, device, workers)
    state = run.state()
    done = 0 if state is None else state.step
    if done < lesson.options.steps:
        pace = _pace(student, objective, batches, lesson.options, device)
        left = console.duration(pace * (lesson.options.steps - done))
        console.say(f"step {done:,} of {lesson.options.steps:,}, eta {left}")
    run.log_from(done)

    def should_stop() -> bool:
        progress.advance(1)
        return interruption.pending() is not None or (deadline is not None and time.monotonic() >= deadline)

    with interruption.deferred(), console.Progress("distill", lesson.options.steps, "step") as progress:
        progress.skip(done)
        outcome = training.train(
            student,
            objective,
            batches,
            lesson.options,
            device=device,
            seed=streams.seed,
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
    students.finish(run, student, streams.images, device, workers)


def _targets(lesson: Lesson) -> "list[np.ndarray]":
    """The pseudo-labels (Nu, K) of every source for the unlabelled stream, in its order."""
    from zoo_cli.data import stored

    found = []
    ids = lesson.streams.images.ids[lesson.streams.unlabelled]
    for target in lesson.targets:
        values = stored.read(target.path, ids=ids, columns=("probs",), output=target.output).probs
        if values is None:
            raise ContractError(f"{target.path} has no column probs", "zoo pseudo-label makes it")
        found.append(values)
    return found


def _batches(
    lesson: Lesson, student: "Student", stored: "list[np.ndarray]", device: "torch.device", workers: int | None
) -> "Callable[[int], Batch]":
    """The batch of a step, a function of the step alone: images augmented on the device, labels, targets."""
    import numpy as np
    import torch

    from zoo_cli.data import augmentation, random_numbers
    from zoo_cli.data.caching import ImageCache
    from zoo_cli.objectives.supervised import Batch

    streams, said = lesson.streams, student.preprocessing
    images = streams.images
    rows = np.union1d(streams.labelled, streams.unlabelled) if streams.batch[1] else streams.labelled
    with console.Progress("decode", len(rows), "img") as progress:
        cache = ImageCache(
            [images.getter(row) for row in rows],
            said,
            device,
            devices.workers(workers),
            progress=lambda _done, _total: progress.advance(1),
            ids=[str(name) for name in images.ids[rows]],
        )
    if cache.place == "stream":
        console.say(f"{cache.bytes / 1e9:.1f} GB of images do not fit in memory: they are decoded as they are needed")
    labelled = torch.from_numpy(np.searchsorted(rows, streams.labelled))
    unlabelled = torch.from_numpy(np.searchsorted(rows, streams.unlabelled)) if streams.batch[1] else labelled[:0]
    labels = torch.from_numpy(images.labels[streams.labelled])
    targets = torch.from_numpy(np.concatenate(stored, axis=1)) if stored else None
    if targets is not None and device.type == "cuda" and targets.nbytes <= torch.cuda.mem_get_info(device)[0] // 2:
        targets = targets.to(device)
    numbers = torch.from_numpy(rows)

    def batch(step: int) -> Batch:
        places, epochs, samples = [], [], []
        picked: dict[str, torch.Tensor] = {}
        # One sample may stand in both halves in one epoch: odd numbers for one stream, even for the other.
        for name, pool, count, odd in (
            ("labelled", labelled, streams.batch[0], 1),
            ("unlabelled", unlabelled, streams.batch[1], 0),
        ):
            if not count:
                continue
            seed = random_numbers.derived(streams.seed, f"{name} stream")
            chosen, epoch = random_numbers.stream(seed, len(pool), step * count, count)
            picked[name] = chosen
            places.append(pool[chosen])
            epochs.append(epoch)
            samples.append(2 * numbers[pool[chosen]] + odd)
        views = augmentation.augment(
            cache.batch(torch.cat(places)),
            lesson.augment,
            said.input_size,
            seed=streams.seed,
            epoch=torch.cat(epochs),
            sample=torch.cat(samples),
            mean=said.mean,
            std=said.std,
        )
        if targets is None:
            return Batch(views, labels[picked["labelled"]])
        return Batch(views, labels[picked["labelled"]], targets[picked["unlabelled"].to(targets.device)])

    return batch


def _pace(
    student: "Student",
    objective: "torch.nn.Module",
    batches: "Callable[[int], Batch]",
    options: "Options",
    device: "torch.device",
) -> float:
    """Seconds a step, from a few steps of a copy that is thrown away."""
    import copy
    from dataclasses import replace

    import torch

    from zoo_cli import training

    times: list[float] = []

    def tick() -> bool:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.monotonic())
        return False

    tick()
    training.train(
        copy.deepcopy(student),
        copy.deepcopy(objective),  # type: ignore[arg-type]
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
