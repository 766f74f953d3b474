"""The runs of general transfer: a trained student learns from teachers of its own classes (paper 002)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from zoo_cli import console, devices, interruption, ranks
from zoo_cli.config import Source
from zoo_cli.label_sets import asked_labels
from zoo_cli.models import soup
from zoo_cli.models.float32_head import compute_head_in_float32
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.student import Student
from zoo_cli.objectives.supervised import Objective
from zoo_cli.objectives.teacher_context import TeacherContext
from zoo_cli.pipeline import teachers
from zoo_cli.pipeline.distill_plans import TransferPlan
from zoo_cli.pipeline.teachers import TeacherSpec
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.quantities import percent
from zoo_cli.store import files
from zoo_cli.training import runner, source_files, students
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_folder import RunFolder
from zoo_cli.training.run_paths import RunPath, RunPaths
from zoo_cli.training.run_record import RunResult, load_result
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.training_config import LoopOptions


def train_transfer(plan: TransferPlan, task: TrainingTask, paths: RunPaths) -> list[RunResult]:
    """Train a student for each seed. Raises UsageError, before any is trained, if its folder holds another run."""
    runs = paths.share.take(paths.resolve(plan.settings, plan.names()))
    if not runs:
        return []
    transfers = [_load_transfer(plan, task, run) for run in runs]
    device = devices.choose(task.training.device, purpose="training")
    with runner.computing(task.training, device):
        # Those of other seeds are the same networks.
        teachers.check_class_orders(transfers[0].teachers, task.classes, task.images, device, task.training.workers)
        phases = [transfer.make_phases(device) for transfer in transfers]
    runner.check_runs([specs[-1] for specs in phases], task.training, device)
    cache = runner.cache_images([spec for specs in phases for spec in specs], device, task.training)
    return [transfer.train(specs, cache) for transfer, specs in zip(transfers, phases, strict=True)]


@dataclass(frozen=True)
class _Transfer:
    """The training of one student, in one phase or several. `model`: the student before all of them."""

    plan: TransferPlan
    task: TrainingTask
    run: RunPath
    model: LoadedModel
    teachers: tuple[TeacherSpec, ...]

    @property
    def combination(self) -> str:
        """How the teachers are combined; "one" for a single one."""
        return self.plan.config.combination if len(self.teachers) > 1 else "one"

    def make_phases(self, device: torch.device) -> list[RunSpec]:
        """The runs in their order. The last is the run itself, and the folders of the others are inside its own."""
        inside = self.run.folder / "teachers"
        if self.combination == "soup":
            parts = [self.make_spec(inside / teacher.name, [teacher], self.first_student) for teacher in self.teachers]
            return [*parts, self.make_spec(self.run.folder, self.teachers, self.first_student)]
        if self.combination != "sequential":
            return [self.make_spec(self.run.folder, self.teachers, self.first_student)]
        ordered = self.order_teachers(device)
        paths = [inside / f"{number}-{teacher.name}" for number, teacher in enumerate(ordered[:-1], 1)]
        paths.append(self.run.folder)
        starts: list[Callable[[], Student]] = [self.first_student]
        starts += [partial(self.load_student, path) for path in paths]
        return [
            self.make_spec(path, [teacher], start, [previous.name for previous in ordered[:number]])
            for number, (path, teacher, start) in enumerate(zip(paths, ordered, starts, strict=False))
        ]

    def order_teachers(self, device: torch.device) -> list[TeacherSpec]:
        """The teachers in the order in which they teach."""
        if self.plan.config.order == "given":
            return list(self.teachers)
        pairs = teachers.order_by_accuracy(self.teachers, self.task.images, device, self.task.training.workers)
        listed = ", ".join(f"{teacher.name} {percent(accuracy)}" for teacher, accuracy in pairs)
        console.say(f"teachers by accuracy on the labelled images: {listed}")
        ordered = [teacher for teacher, _ in pairs]
        return ordered if self.plan.config.order == "ascending" else ordered[::-1]

    def make_spec(
        self,
        path: Path,
        phase_teachers: Sequence[TeacherSpec],
        start: Callable[[], Student],
        previous_teachers: Sequence[str] = (),
    ) -> RunSpec:
        """The run of one phase: its teachers, the function that makes the student it starts from."""
        config, training = self.plan.config, self.task.training
        streams, options = self.plan.streams(self.task, self.run.seed)
        live = () if config.stored else tuple(phase_teachers)
        mirrored = config.mirrored(training.augment)
        return RunSpec(
            path,
            streams,
            options,
            self.make_record(phase_teachers, previous_teachers),
            f"from {', '.join(teacher.name for teacher in phase_teachers)}",
            build_student=start,
            build_objective=partial(self.build_objective, live, options),
            predicted=self.task.images.where(split=("test",)),
            load_teacher_logits=partial(teachers.compute_logits, phase_teachers, streams.rows, mirrored)
            if config.stored
            else None,
            stored_teachers=len(phase_teachers) if config.stored else 0,
            starts_from=source_files.list_trained_images(self.plan.settings, self.plan.student),
            licenses=source_files.list_licenses(
                self.plan.settings, self.plan.student, [teacher.name for teacher in phase_teachers]
            ),
        )

    def make_record(self, phase_teachers: Sequence[TeacherSpec], previous_teachers: Sequence[str]) -> dict[str, Any]:
        """What run.json holds of a phase."""
        settings, config = self.plan.settings, self.plan.config
        return {
            "objective": self.plan.method.spec,
            "student": {"student": settings.declared(self.plan.student), "after": list(previous_teachers)},
            "options": {
                "kd_temperature": config.kd_temperature,
                "targets": config.targets,
                "teachers": self.combination,
            },
            "teachers": [{"source": teacher.name, "weight": 1 / len(phase_teachers)} for teacher in phase_teachers],
            "inputs": {
                "student weights": self.model.weights_sha256,
                "student built as": teachers.digest_build(self.model),
                **{f"teacher {teacher.name}": teacher.digest for teacher in self.teachers},
                **{f"teacher {teacher.name} built as": teacher.build_digest for teacher in self.teachers},
            },
            "task": settings.task.name,
            "asked": {"teachers": [teacher.name for teacher in self.teachers], **asked_labels(settings)},
        }

    def build_objective(
        self, live_teachers: Sequence[TeacherSpec], options: LoopOptions, student: Student, device: torch.device
    ) -> Objective:
        """The objective, with a copy of the student as it is now."""
        original = copy.deepcopy(student).to(device).eval().requires_grad_(False)
        compute_head_in_float32(original)
        if device.type == "cuda":
            original.to(memory_format=torch.channels_last)  # the memory order of the images
        networks = tuple(teacher.build(student, device) for teacher in live_teachers)
        context = TeacherContext(networks, original, options.steps, self.plan.config.kd_temperature)
        objective: Objective = self.plan.method.function(context, **self.plan.method.params)
        return objective

    def first_student(self) -> Student:
        """The student before its first teacher."""
        return students.as_trained_student(self.model, self.task.classes)

    def load_student(self, path: Path) -> Student:
        """The student as the phase in a folder left it."""
        source = Source(path.name, f"file:{path.resolve()}")
        model = students.load_network(self.plan.settings, source, self.run.seed)
        return students.as_trained_student(model, self.task.classes)

    def train(self, specs: Sequence[RunSpec], cache: ImageCache) -> RunResult:
        """Train phase by phase. What had to be cleared is cleared."""
        if self.combination == "soup":
            return self.train_soup(specs, cache)
        return runner.train_in_sequence(specs, self.task.training, cache)

    def train_soup(self, specs: Sequence[RunSpec], cache: ImageCache) -> RunResult:
        """Train a student for each teacher, and average their weights."""
        training = self.task.training
        *parts, last = specs
        with runner.open_run(last, training, cache.device) as whole:
            if whole.finished:
                console.say(f"{whole.place} is up to date")
                return load_result(whole.place)
            results = runner.train_runs(parts, replace(training, recalibrate=False), cache=cache)
            ranks.first_does(lambda: self.write_soup(whole, specs, results[-1].steps, cache))
            return load_result(whole.place)

    def write_soup(self, whole: RunFolder, specs: Sequence[RunSpec], steps: int, cache: ImageCache) -> None:
        """Write the student with the average weights of the parts, which come before the whole in `specs`."""
        training = self.task.training
        *parts, last = specs
        student = self.load_student(parts[0].path)
        states = [files.read_tensors(part.path / "model.safetensors")[0] for part in parts]
        student.module.load_state_dict(soup.average_states(states))
        student.to(cache.device)
        if training.recalibrate:
            runner.recalibrate_student(student, last.streams, training, cache)
        interruption.check()
        files.write_lines(whole.path / "metrics.jsonl", [{"step": steps}])
        students.write_student(whole, student, cache, last.predicted, last.list_seen(), last.describe_lineage())


def _load_transfer(plan: TransferPlan, task: TrainingTask, run: RunPath) -> _Transfer:
    """Load student and teachers. Raises UsageError for other classes than the task's, before anything is written."""
    loaded = teachers.load_teachers(plan.settings, plan.teachers, task.classes, run.seed)
    model = students.load_network(plan.settings, plan.student, run.seed)
    students.as_trained_student(model, task.classes)
    if model.class_names is None:
        console.warn("the class names of the student are not known: they are taken to be the task's, in order")
    return _Transfer(plan, task, run, model, tuple(loaded))
