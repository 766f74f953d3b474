"""General knowledge transfer: a student that is trained already learns from teachers of its own classes (paper 002)."""

import inspect
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, interruption, registry, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import UsageError
from zoo_cli.pipeline import runner, source_weights, students, teachers
from zoo_cli.pipeline.image_cache import ImageCache
from zoo_cli.pipeline.runner import RunSpec
from zoo_cli.pipeline.streams import IndexStreams
from zoo_cli.pipeline.teachers import TeacherSpec
from zoo_cli.pipeline.training_options import RunPaths, TrainingOptions
from zoo_cli.store import files

if TYPE_CHECKING:
    import torch

    from zoo_cli.models.loading import LoadedModel
    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Objective
    from zoo_cli.store.manifest import Images
    from zoo_cli.training.loop import LoopOptions

MANY = {"sequential": ("ascending", "descending", "given"), "parallel": (), "soup": ()}
"""How several teachers teach, and in which orders."""
VIEWS = {"live": None, "stored": ("none", "flip"), "stored-clean": None}
"""Where the teachers' answers come from, and the augmentations of which they can then be."""


@dataclass(frozen=True)
class TransferConfig:
    """What the flags of general transfer say, in the words of their names."""

    method: specs.Method
    facts: registry.Objective
    sources: tuple[str, ...]
    teachers: str | None
    targets: str | None
    temperature: float

    @property
    def mode(self) -> str:
        """How several teachers teach."""
        return specs.split_spec(self.teachers or "sequential")[0]

    @property
    def order(self) -> str:
        """The order of teachers in sequence: the paper begins with the least accurate one."""
        return specs.split_spec(self.teachers or "sequential")[1].get("order", "ascending")

    @property
    def stored(self) -> bool:
        """Whether the teachers are asked once, before the first step."""
        return (self.targets or "live") != "live"

    @property
    def labels(self) -> bool:
        """Whether it learns from the labelled images, with their labels."""
        if isinstance(self.facts.labels, bool):
            return self.facts.labels
        default = inspect.signature(self.method.function).parameters[self.facts.labels].default
        return bool(self.method.params.get(self.facts.labels, default))

    def mirrored(self, course: TrainingOptions) -> bool:
        """Whether stored answers are of the mirrored view too."""
        return self.targets == "stored" and course.augment == "flip"

    def check(self, course: TrainingOptions) -> None:
        """Raise UsageError for values that are none, and for those that exclude one another."""
        from torch import nn

        from zoo_cli.objectives import teacher_context as objectives

        name, params = specs.split_spec(self.teachers or "sequential")
        if name not in MANY:
            raise specs.nearest("way of several teachers", name, MANY)
        for key, value in params.items():
            if key != "order" or value not in MANY[name]:
                known = [f"sequential:order={order}" for order in MANY["sequential"]]
                raise UsageError(f'--teachers "{self.teachers}"', f"one of: {', '.join([*MANY, *known])}")
        if name == "parallel" and self.method.name != "dp":
            raise UsageError(
                f"{self.method.name} has one teacher a step: it cannot choose among several by sample",
                "--objective dp, or --teachers sequential or soup",
            )
        if self.labels and course.unlabelled_from != "all":
            raise UsageError(f"{self.method.spec} learns from labelled images alone", "leave --unlabelled-from out")
        views = self.targets or "live"
        if views not in VIEWS:
            raise specs.nearest("--targets", views, VIEWS)
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--kd-temperature {self.temperature:g} is not positive", "1 leaves the logits unchanged")
        # Values outside their range are told before anything is asked or decoded; only the length may still be open.
        steps = course.options.steps if course.epochs is None else sys.maxsize
        self.method.function(
            objectives.TeacherContext((), nn.Identity(), steps, self.temperature), **self.method.params
        )
        fitting = VIEWS[views]
        if fitting is not None and course.augment not in fitting:
            raise UsageError(
                f"stored targets are of the plain or the mirrored view, not of --augment {course.augment}",
                "--augment none or flip, --targets live, or --targets stored-clean to take them all the same",
            )

    def name(self, settings: Config) -> str:
        """How the student is called, without its seed."""
        said = [source_weights.weighting_slug(self.method.spec), "+".join(one.name for one in self.chosen(settings))]
        if len(self.chosen(settings)) > 1:
            said.append(self.mode)
        return "-".join(said)

    def chosen(self, settings: Config) -> Sequence[Source]:
        """The teachers by name. Raises UsageError where there is none."""
        found = settings.select(self.sources)
        if not found:
            raise UsageError("no teacher: there is no [[source]] in zoo.toml", "--source NAME, or PROVIDER:NAME")
        if len({one.name for one in found}) < len(found):
            raise UsageError("two teachers have one name", "name each once")
        return found

    def length(self, course: TrainingOptions, images: "Images", seed: int) -> "tuple[IndexStreams, LoopOptions]":
        """The streams of a run, and its options with the number of steps. An epoch is one of the images it sees."""
        streams = IndexStreams.of(images, course, seed, labels=self.labels, others=not self.labels)
        return streams, course.lasting(len(streams.rows), course.batch_size)


def train_transfer(
    settings: Config,
    asked: TransferConfig,
    course: TrainingOptions,
    places: RunPaths,
    images: "Images",
    classes: tuple[str, ...],
    learner: Source,
) -> list[dict[str, Any]]:
    """Train a student for each seed; a row each. Standing runs of another making are told before any is trained."""
    ones = []
    for path, seed in places.of([asked.name(settings)]):
        known = teachers.load_teachers(settings, asked.chosen(settings), classes, seed)
        for teacher in known:
            if teacher.model is None and not asked.stored:
                raise UsageError(
                    f"of {teacher.name} only stored outputs are known: it cannot be asked",
                    "--targets stored --augment none",
                )
            if teacher.model is None and asked.mirrored(course):
                raise UsageError(
                    f"the stored outputs of {teacher.name} are of the plain view, not of the mirrored one",
                    "--augment none, or --targets stored-clean",
                )
        model = students.load_network(settings, learner, seed)
        students.as_trained_student(model, classes)  # other classes are told before anything is made
        if model.class_names is None:
            console.warn("the class names of the student are not known: they are taken to be the task's, in order")
        ones.append(_Transfer(settings, asked, course, images, classes, learner, model, known, path, seed))
    device = course.device()
    plans = [one.plan(device) for one in ones]
    for plan in plans:
        runner.open_run(plan[-1], course, settings.task.name, device)
    shared = runner.share_images([lesson for plan in plans for lesson in plan], device, course.workers)
    again = replace(course, overwrite=False)
    return [replace(one, course=again).run(plan, shared) for one, plan in zip(ones, plans, strict=True)]


@dataclass(frozen=True)
class _Transfer:
    """One run: the student as it is before (`model`), its teachers, and where it goes."""

    settings: Config
    asked: TransferConfig
    course: TrainingOptions
    images: "Images"
    classes: tuple[str, ...]
    learner: Source
    model: "LoadedModel"
    known: Sequence[TeacherSpec]
    path: Path
    seed: int

    def plan(self, device: "torch.device") -> list[RunSpec]:
        """The lessons in turn; the last is that of the run itself, and the folders of the others lie in its own."""
        inside = self.path / "teachers"
        mode = self.asked.mode if len(self.known) > 1 else "one"
        whole = self.lesson(self.path, self.known, self.first)
        if mode == "soup":
            return [*(self.lesson(inside / one.name, [one], self.first) for one in self.known), whole]
        if mode != "sequential":
            return [whole]
        turns = self.turns(device)
        paths = [inside / f"{number}-{teacher.name}" for number, teacher in enumerate(turns[:-1], 1)] + [self.path]
        starts = [self.first, *(partial(self.after, path) for path in paths)]
        return [
            self.lesson(path, [teacher], start, [other.name for other in turns[:number]])
            for number, (path, teacher, start) in enumerate(zip(paths, turns, starts, strict=False))
        ]

    def turns(self, device: "torch.device") -> list[TeacherSpec]:
        """The teachers in the order in which they teach."""
        if self.asked.order == "given":
            return list(self.known)
        told = teachers.order_by_accuracy(self.known, self.images, device, self.course.workers)
        named = ", ".join(f"{teacher.name} {console.percent(accuracy)}" for teacher, accuracy in told)
        console.say(f"teachers by their accuracy on the labelled images: {named}")
        turns = [teacher for teacher, _ in told]
        return turns if self.asked.order == "ascending" else turns[::-1]

    def run(self, plan: Sequence[RunSpec], shared: ImageCache) -> dict[str, Any]:
        """Train it, phase by phase; its row."""
        if self.asked.mode == "soup" and len(self.known) > 1:
            return self.soup(plan, shared)
        return runner.train_in_sequence(plan, self.course, self.settings.task.name, shared)

    def lesson(self, path: Path, known: Sequence[TeacherSpec], student: Any, before: Sequence[str] = ()) -> RunSpec:
        """What one phase learns, from which teachers."""
        streams, options = self.asked.length(self.course, self.images, self.seed)
        stored = self.asked.stored
        return RunSpec(
            path,
            streams,
            options,
            self.said(known, before),
            f"from {', '.join(teacher.name for teacher in known)}",
            student=student,
            objective=partial(self.objective, () if stored else tuple(known), options),
            judged=self.images.where(split=("test",)),
            answers=partial(teachers.stored_logits, known, streams.rows, self.asked.mirrored(self.course))
            if stored
            else None,
        )

    def said(self, known: Sequence[TeacherSpec], before: Sequence[str] = ()) -> dict[str, Any]:
        """What run.json says of a phase."""
        return {
            "objective": self.asked.method.spec,
            "student": {"student": self.settings.declared(self.learner), "after": list(before)},
            "options": {
                "kd_temperature": self.asked.temperature,
                "targets": self.asked.targets or "live",
                "teachers": self.asked.mode if len(self.known) > 1 else "one",
            },
            "teachers": [{"source": teacher.name, "weight": 1 / len(known)} for teacher in known],
            "inputs": {
                "student weights": self.model.weights_sha256,
                "student built as": teachers.build_digest(self.model),
                **{f"teacher {teacher.name}": teacher.digest for teacher in self.known},
                **{f"teacher {teacher.name} built as": teacher.built for teacher in self.known},
            },
        }

    def objective(
        self, known: Sequence[TeacherSpec], options: "LoopOptions", student: "Student", device: "torch.device"
    ) -> "Objective":
        """The objective, with its own copy of the student as it is now."""
        import copy

        import torch

        from zoo_cli.objectives.teacher_context import TeacherContext

        original = copy.deepcopy(student).to(device).eval().requires_grad_(False)
        if device.type == "cuda":
            original.to(memory_format=torch.channels_last)  # the memory order of the images
        asked = tuple(teacher.asked(student, device) for teacher in known)
        taught = TeacherContext(asked, original, options.steps, self.asked.temperature)
        objective: Objective = self.asked.method.function(taught, **self.asked.method.params)
        return objective

    def first(self) -> "Student":
        """The student before its first teacher."""
        return students.as_trained_student(self.model, self.classes)

    def after(self, path: Path) -> "Student":
        """The student as the phase in a folder left it."""
        source = Source(path.name, f"file:{path.resolve()}")
        return students.as_trained_student(students.load_network(self.settings, source, self.seed), self.classes)

    def soup(self, plan: Sequence[RunSpec], shared: ImageCache) -> dict[str, Any]:
        """A student for each teacher, and the average of their weights."""
        from zoo_cli.models import soup

        task = self.settings.task.name
        *phases, last = plan
        whole = runner.open_run(last, self.course, task, shared.device)
        if whole.finished:
            console.say(f"{whole.path} is up to date")
            return runner.load_result(whole.path)
        done = runner.train_runs(phases, replace(self.course, recalibrate=False), task, shared)
        student = self.after(phases[0].path)
        states = [files.read_tensors(phase.path / "model.safetensors")[0] for phase in phases]
        student.module.load_state_dict(soup.average_states(states))
        student.to(shared.device)
        if self.course.recalibrate:
            runner.recalibrate_student(student, last.streams, self.course, shared)
        interruption.check()
        files.write_lines(whole.path / "metrics.jsonl", [{"step": done[-1]["step"]}])
        students.write_student(whole, student, shared, last.judged)
        return runner.load_result(whole.path)
