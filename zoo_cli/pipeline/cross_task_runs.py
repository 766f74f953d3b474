"""The lessons of cross-task distillation: labels, and the pseudo-labels of many sources under a weighting."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo_cli import console, specs
from zoo_cli.config import Config, Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.pipeline import leakage, prepare, score, source_ranking, source_weights, students
from zoo_cli.pipeline.metric_scores import ScoreConfig
from zoo_cli.pipeline.prepare import Needs
from zoo_cli.pipeline.runner import RunSpec, train_runs
from zoo_cli.pipeline.streams import IndexStreams
from zoo_cli.pipeline.training_options import RunPaths, TrainingOptions
from zoo_cli.store import feature_store, files

if TYPE_CHECKING:
    import numpy as np
    import torch

    from zoo_cli.models.student import Student
    from zoo_cli.objectives.supervised import Objective
    from zoo_cli.store.manifest import Images
    from zoo_cli.training.loop import LoopOptions

LABELS_ONLY = "labels-only"


@dataclass(frozen=True)
class PseudoLabels:
    """The stored pseudo-labels of one source, and its weight in the loss."""

    name: str
    path: Path
    weight: float
    output: str
    digest: str


@dataclass(frozen=True)
class RunTargets:
    """What one student learns from: the targets, and how that is called in the name of its run."""

    name: str
    targets: tuple[PseudoLabels, ...]


@dataclass(frozen=True)
class CrossTaskConfig:
    """What the flags of cross-task distillation say, in the words of their names."""

    weightings: tuple[str, ...]
    metric: str
    on: str | None
    sources: tuple[str, ...]
    each_source: bool
    lam: float
    temperature: float
    min_weight: float
    pseudo: tuple[Path, ...]
    scores: Path | None

    def check(self) -> None:
        """Raise UsageError for values outside their range, and for flags that exclude one another."""
        if not 0 <= self.lam <= 1:
            raise UsageError(f"--lam {self.lam:g}", "0 is pseudo-labels only, 1 labels only")
        if not 0 < self.temperature < math.inf:
            raise UsageError(f"--kd-temperature {self.temperature:g}", "above 0; 1 leaves the targets as they are")
        if not 0 <= self.min_weight < 1:
            raise UsageError(f"--min-weight {self.min_weight:g}", "from 0 to below 1")
        if self.pseudo and self.sources:
            raise UsageError("--source names a source of zoo.toml, --pseudo brings its own", "leave one of them out")
        if self.scores is not None and not self.pseudo:
            raise UsageError("--scores are those of the sources of --pseudo", "without it, zoo score makes them")
        if self.lam == 1 and (self.each_source or len(self.weightings) > 1):
            raise UsageError("--lam 1 is labels only: no source takes part", "leave --each-source and --weighting out")
        for weighting in self.weightings:
            specs.resolve("weighting", weighting)

    def names(self, settings: Config) -> list[str]:
        """How the students are called, without their seeds, before anything is made."""
        if self.lam == 1:
            return [LABELS_ONLY]
        if self.each_source:
            return [f"cross-task-from-{name}" for name in self._single(settings)]
        asked = self._ranking(self.weightings[0])
        return [f"cross-task-{asked.name}-{source_weights.weighting_slug(weighting)}" for weighting in self.weightings]

    def taught(self, settings: Config) -> list[RunTargets]:
        """What each student learns from; scores and pseudo-labels are made where they are missing."""
        names = self.names(settings)
        if self.lam == 1:
            return [RunTargets(names[0], ())]
        if self.pseudo:
            given = [_bare(self.pseudo, self.scores, weighting, self.min_weight) for weighting in self.weightings]
            return [RunTargets(name, tuple(targets)) for name, targets in zip(names, given, strict=True)]
        if self.each_source:
            barred = leakage.excluded_sources(settings, self._single(settings))
            for name, why in barred.items():
                console.say(f"{name} takes no part: {why}")
            chosen = [source for source in self._chosen(settings) if source.name not in barred]
            prepare.prepare(settings, Needs(features=chosen, pseudo_labels=chosen))
            heads = [
                source.name for source in chosen if feature_store.load_source_record(settings, source.name)["classes"]
            ]
            if not heads:
                raise UsageError("no source with a head is left to learn from", "zoo rank says why each is excluded")
            return [RunTargets(f"cross-task-from-{name}", (_target(settings, name, 1.0),)) for name in heads]
        chosen = list(self._chosen(settings))
        scored = score.needs(settings, ScoreConfig(self._ranking(self.weightings[0]).questions, tuple(chosen)))
        prepare.prepare(settings, replace(scored, pseudo_labels=chosen))
        ranked = [
            source_ranking.rank_sources(settings, self._ranking(weighting), chosen).weights
            for weighting in self.weightings
        ]
        kept = [drop_small_weights(_with_heads(settings, given), self.min_weight) for given in ranked]
        return [
            RunTargets(name, tuple(_target(settings, source, weight) for source, weight in given.items()))
            for name, given in zip(names, kept, strict=True)
        ]

    def length(self, course: TrainingOptions, images: "Images", seed: int) -> "tuple[IndexStreams, LoopOptions]":
        """The streams of a run and its options with the number of steps.

        Equal steps for all: an epoch is one of the unlabelled images, half a batch at a time, also with labels only.
        """
        streams = IndexStreams.of(images, course, seed, labels=True, others=self.lam < 1)
        count = len(streams.unlabelled) or len(streams.labelled)
        return streams, course.lasting(count, course.batch_size // 2)

    def _ranking(self, weighting: str) -> source_ranking.RankingSpec:
        return source_ranking.parse_ranking([self.metric], self.on, weighting)

    def _chosen(self, settings: Config) -> Sequence[Source]:
        return settings.select(self.sources)

    def _single(self, settings: Config) -> list[str]:
        if self.pseudo:
            raise UsageError("--each-source goes with the sources of a zoo.toml", "with --pseudo, name one at a time")
        return [source.name for source in self._chosen(settings)]


def train_cross_task(
    settings: Config,
    asked: CrossTaskConfig,
    course: TrainingOptions,
    places: RunPaths,
    images: "Images",
    classes: tuple[str, ...],
    learner: Source,
    init: str | None,
) -> list[dict[str, Any]]:
    """Train a student for each weighting or source and each seed; a row each."""
    pseudo_labels = _Stored(images)
    taught = asked.taught(settings)
    judged = images.where(split=("test",))
    started = students.model_digests(settings, learner, *(() if init is None else settings.select([init])))
    lessons: list[RunSpec] = []
    each = [one for one in taught for _ in places.seeds]
    for one, (path, seed) in zip(each, places.of([one.name for one in taught]), strict=True):
        streams, options = asked.length(course, images, seed)
        said = {
            "objective": "cross-task",
            "student": {"student": settings.declared(learner), "init": init or ""},
            "options": {"lam": asked.lam, "kd_temperature": asked.temperature},
            "weights": [{"source": target.name, "weight": target.weight} for target in one.targets],
            "inputs": {**started, **{f"pseudo-labels of {target.name}": target.digest for target in one.targets}},
        }
        lessons.append(
            RunSpec(
                path,
                streams,
                options,
                said,
                describe_targets(one.targets),
                student=partial(students.build_student, settings, learner, init, classes, seed),
                objective=partial(pseudo_labels.objective, asked, one, seed),
                judged=judged,
                targets=partial(pseudo_labels.beside, one.targets, streams.unlabelled),
            )
        )
    return train_runs(lessons, course, settings.task.name)


def drop_small_weights(given: Mapping[str, float], least: float) -> dict[str, float]:
    """The sources whose weight is `least` or more, their weights renormalised. Says what is left out."""
    kept = {name: weight for name, weight in given.items() if weight > 0 and weight >= least}
    if not kept:
        raise UsageError(f"no source has a weight of at least {least:g}", "lower --min-weight, or take --lam 1")
    dropped = [weight for name, weight in given.items() if name not in kept and weight > 0]
    if dropped:
        console.say(
            f"{len(dropped)} sources below --min-weight {least:g} are left out: weight {sum(dropped):.2g} in all"
        )
    total = sum(kept.values())
    return {name: weight / total for name, weight in kept.items()}


def describe_targets(targets: Sequence[PseudoLabels]) -> str:
    """The sources and weights in a phrase."""
    if not targets:
        return "labels only"
    first = sorted(targets, key=lambda target: -target.weight)
    named = ", ".join(f"{target.name} {target.weight:.2f}" for target in first[:4])
    return f"from {named}" + (f" and {len(first) - 4} more" if len(first) > 4 else "")


class _Stored:
    """The pseudo-labels of the sources for the unlabelled stream, each read once for all students of a command."""

    def __init__(self, images: "Images"):
        self.images = images
        self._read: dict[Path, np.ndarray] = {}

    def of(self, target: PseudoLabels, rows: "np.ndarray") -> "np.ndarray":
        """The probabilities (Nu, K) of one source on these rows of the manifest."""
        from zoo_cli.store import feature_files

        if target.path not in self._read:
            ids = self.images.ids[rows]
            values = feature_files.load_outputs(target.path, ids=ids, columns=("probs",), output=target.output).probs
            if values is None:
                raise ContractError(f"{target.path} has no column probs", "zoo pseudo-label makes it")
            self._read[target.path] = values
        return self._read[target.path]

    def beside(self, targets: Sequence[PseudoLabels], rows: "np.ndarray") -> "torch.Tensor | None":
        """Those of all sources, side by side (Nu, sum K); None where no source takes part."""
        import numpy as np
        import torch

        if not targets:
            return None
        return torch.from_numpy(np.concatenate([self.of(target, rows) for target in targets], axis=1))

    def objective(
        self, asked: CrossTaskConfig, taught: RunTargets, seed: int, student: "Student", _device: "torch.device"
    ) -> "Objective":
        """Cross-task distillation with a head for each source. Its pseudo-labels have been read."""
        import torch

        from zoo_cli.objectives.cross_task import CrossTask

        return CrossTask(
            student.features_dim,
            [self._read[target.path].shape[1] for target in taught.targets],
            [target.output for target in taught.targets],  # type: ignore[misc]
            [target.weight for target in taught.targets],
            torch.Generator().manual_seed(seed),
            lam=asked.lam,
            temperature=asked.temperature,
        )


def _with_heads(settings: Config, given: Mapping[str, float]) -> dict[str, float]:
    kept = {}
    for name, weight in given.items():
        if weight and not feature_store.load_source_record(settings, name)["classes"]:
            console.warn(f"{name} has no head and cannot teach: its weight {weight:.2g} goes to the others")
            continue
        kept[name] = weight
    return kept


def _target(settings: Config, name: str, weight: float) -> PseudoLabels:
    from zoo_cli.store import feature_files

    path = settings.pseudo(name)
    return PseudoLabels(
        name,
        path,
        weight,
        feature_store.load_source_record(settings, name)["output"],
        feature_files.content_digest(path),
    )


def _bare(folders: Sequence[Path], scores: Path | None, weighting: str, least: float) -> list[PseudoLabels]:
    """Pseudo-labels given by path, weighted by a scores file, or alike."""
    from zoo_cli.store import feature_files

    names = [folder.stem.removeprefix("source=") for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError("two --pseudo have the same name", "rename a folder: it is the source's name")
    method = specs.resolve("weighting", weighting)
    if scores is not None:
        given = source_ranking.rank_scores_file(scores, weighting, Config(Path()), names).weights
    elif method.name in ("equal", "file", "random") or method.params == {"p": 0}:
        given = source_weights.weigh_without_scores(method, names)
    else:
        raise UsageError(f"--weighting {weighting} needs scores", "--scores FILE, or --weighting equal")
    kept = drop_small_weights(given, least)
    heads: dict[str, dict[str, Any]] = {
        name: files.read_header(feature_files.find_parts(folder)[0])
        for name, folder in zip(names, folders, strict=True)
    }
    return [
        PseudoLabels(
            name,
            folder,
            kept[name],
            heads[name].get("inputs", {}).get("output", "softmax"),
            feature_files.content_digest(folder),
        )
        for name, folder in zip(names, folders, strict=True)
        if name in kept
    ]
