"""The runs of cross-task distillation: labels, and the pseudo-labels of many sources under a weighting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo_cli import console
from zoo_cli.config import Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.label_sets import asked_labels
from zoo_cli.metrics.collapse import COLLAPSED
from zoo_cli.models.student import Student
from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.supervised import Objective
from zoo_cli.pipeline import distill_notes, rank, source_weights
from zoo_cli.pipeline.distill_plans import CrossTaskPlan, each_source_name
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.ranking_spec import RankingSpec
from zoo_cli.pipeline.stored_targets import PseudoLabels, StoredTargets, describe_targets, describe_views, digest_views
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.store import feature_files, parquet_files, view_store
from zoo_cli.store.output_summary import find_collapsed, summarise_path
from zoo_cli.store.source_record import load_source_record
from zoo_cli.store.view_set import ViewSet
from zoo_cli.training import runner, source_files, students
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.run_spec import RunSpec


@dataclass(frozen=True)
class RunTargets:
    """The pseudo-labels that a student learns from, and the name of its run without the seed.

    `asked`: what the user asked for, in the same words for every task, as run.json holds it.
    """

    name: str
    targets: tuple[PseudoLabels, ...]
    asked: Mapping[str, Any]


def train_cross_task(plan: CrossTaskPlan, task: TrainingTask, paths: RunPaths) -> list[RunResult]:
    """Train a student for each weighting or source, and each seed. Scores and pseudo-labels must exist."""
    settings, run_targets = plan.settings, select_targets(plan)
    if not run_targets:
        return []
    if plan.by_scores:
        distill_notes.say_notes(settings, plan.rankings, plan.sources)
    specs = make_run_specs(plan, task, paths, run_targets)
    if plan.config.init is None and students.has_trained_head(settings, plan.student, task.classes):
        console.say(f"{plan.student.name} starts with a new head; the objective heads would keep its trained one")
    return runner.train_runs(paths.share.take(specs), task.training)


def make_run_specs(
    plan: CrossTaskPlan, task: TrainingTask, paths: RunPaths, run_targets: Sequence[RunTargets]
) -> list[RunSpec]:
    """The run of each student and seed, from what `select_targets` gives."""
    settings, config = plan.settings, plan.config
    stored = StoredTargets(task.images)
    runs = paths.resolve(settings, [targets.name for targets in run_targets])
    init = () if config.init is None else settings.select([config.init])
    digests = source_files.model_digests(settings, plan.student, *init)
    specs: list[RunSpec] = []
    repeated = [each for each in run_targets for _ in paths.task_seeds(settings)]
    for each, run in zip(repeated, runs, strict=True):
        targets = each.targets
        streams, options = plan.streams(task, run.seed)
        record = {
            "objective": "cross-task",
            "student": {"student": settings.declared(plan.student), "init": config.init or ""},
            "options": {"lam": config.lam, "kd_temperature": config.kd_temperature, **describe_views(plan.views)},
            "weights": [{"source": target.name, "weight": target.weight} for target in targets],
            "inputs": {**digests, **{f"pseudo-labels of {target.name}": target.digest for target in targets}},
            "task": settings.task.name,
            "asked": {**each.asked, **asked_labels(settings)},
        }
        specs.append(
            RunSpec(
                run.folder,
                streams,
                options,
                record,
                describe_targets(targets),
                build_student=partial(
                    students.build_student, settings, plan.student, config.init, task.classes, run.seed
                ),
                build_objective=partial(_build_objective, plan, targets, stored, streams.unlabelled, run.seed),
                predicted=task.images.where(split=("test",)),
                load_targets=partial(stored.concatenate, targets, streams.unlabelled) if targets else None,
                views=plan.views,
                starts_from=source_files.list_trained_images(settings, *(init or [plan.student])),
                licenses=source_files.list_licenses(settings, plan.student, [target.name for target in targets]),
            )
        )
    return specs


def select_targets(plan: CrossTaskPlan) -> list[RunTargets]:
    """The pseudo-labels that each student learns from. Scores and pseudo-labels must exist."""
    settings, config = plan.settings, plan.config
    if config.labels_only:
        return [RunTargets(name, (), {}) for name in plan.names()]
    if config.each_source:
        return _each_source_targets(plan)
    if config.pseudo:
        targets = [
            _load_targets_by_path(config.pseudo, config.scores, ranking, config.min_weight) for ranking in plan.rankings
        ]
    else:
        targets = weigh_sources(settings, plan.rankings, plan.sources, plan.views)
    chosen = [source.name for source in plan.sources] if config.sources else []
    return [
        RunTargets(name, tuple(each), ranking.as_asked(chosen))
        for name, each, ranking in zip(plan.names(), targets, plan.rankings, strict=True)
    ]


def weigh_sources(
    settings: Config, rankings: Sequence[RankingSpec], sources: Sequence[Source], views: ViewSet | None = None
) -> list[list[PseudoLabels]]:
    """The pseudo-labels of the sources that weigh something, for each weighting, with the weights of `zoo rank`.

    `views`: of these stored views, where a source has answered for them.
    Says once which sources cannot teach. Raises UsageError if none is left.
    """
    ranked = [rank.rank_sources(settings, spec, sources) for spec in rankings]
    for note in dict.fromkeys(ranking.headless_note for ranking in ranked):
        if note is not None and any(any(ranking.weights.values()) for ranking in ranked):
            console.say(note)
    return [
        [_load_target(settings, name, weight, views) for name, weight in _check_weights(ranking).items()]
        for ranking in ranked
    ]


def _check_weights(ranking: Ranking) -> dict[str, float]:
    """The sources of a ranking that weigh something. Says what was dropped. Raises UsageError if none is left."""
    weights = {row.source: row.weight for row in ranking.rows if row.weight}
    usable = [row for row in ranking.rows if row.rank is not None]
    if usable and all(row.teaches == source_weights.NO for row in usable):
        raise no_teacher([row.source for row in usable])
    _check_left(weights, ranking.dropped, ranking.spec.min_weight)
    return weights


def _check_left(weights: Mapping[str, float], dropped: Sequence[float], min_weight: float) -> None:
    if not weights:
        message = f"no source has a weight of at least {min_weight:g}"
        raise source_weights.NoWeight(message, "lower `min_weight`, or set `lam` 1")
    if dropped:
        few = f"{len(dropped)} sources with a weight below {min_weight:g}"
        console.say(f"{few} are dropped: {sum(dropped):.2g} in total")


def no_teacher(names: Sequence[str]) -> ParameterError:
    """The error for sources none of which has a head."""
    return ParameterError(
        f"no source can teach by pseudo-labels: {', '.join(names)} {'has' if len(names) == 1 else 'have'} no head",
        "set `objective` heads: it learns from heads on their features",
    )


def _build_objective(
    plan: CrossTaskPlan,
    targets: Sequence[PseudoLabels],
    stored: StoredTargets,
    rows: np.ndarray,
    seed: int,
    student: Student,
    _device: torch.device,
) -> Objective:
    """Cross-task distillation with a head for each source."""
    return CrossTask(
        student.features_dim,
        [stored.read(target, rows).shape[-1] for target in targets],
        [target.output for target in targets],  # type: ignore[misc]
        [target.weight for target in targets],
        torch.Generator().manual_seed(seed),
        lam=plan.config.lam,
        temperature=plan.config.kd_temperature,
    )


def _each_source_targets(plan: CrossTaskPlan) -> list[RunTargets]:
    """One student for each source that has a head and has not seen the task; none if all that were named are excluded.

    Raises UsageError if none of zoo.toml is left.
    """
    settings = plan.settings
    names = [source.name for source in plan.sources if source.name not in plan.excluded]
    collapsed = find_collapsed(settings, names)
    for name, reason in {**plan.excluded, **dict.fromkeys(collapsed, f"undefined: {COLLAPSED}")}.items():
        console.say(f"{name} is excluded: {reason}")
    names = [name for name in names if name not in collapsed]
    if not names and plan.config.sources:
        return []
    if not names:
        raise UsageError("no source is left to learn from", "zoo rank shows why each is excluded")
    with_head = [name for name in names if load_source_record(settings, name).can_teach]
    if not with_head:
        raise no_teacher(names)
    if headless := [name for name in names if name not in with_head]:
        console.say(source_weights.describe_headless(headless, None, with_head[0], single=False))
    targets = {name: _load_target(settings, name, 1.0, plan.views) for name in with_head}
    return [
        RunTargets(each_source_name(name, plan.views), (target,), {"source": name}) for name, target in targets.items()
    ]


def _load_target(settings: Config, name: str, weight: float, views: ViewSet | None) -> PseudoLabels:
    record = load_source_record(settings, name)
    output = record.output
    if views is not None and not record.outputs_only:
        path = view_store.pseudo_folder(settings, name)
        return PseudoLabels(name, path, weight, output, digest_views(path, views), views.count)
    path = settings.pseudo(name)
    return PseudoLabels(name, path, weight, output, feature_files.content_digest(path))


def _load_targets_by_path(
    folders: Sequence[Path], scores: Path | None, ranking: RankingSpec, min_weight: float
) -> list[PseudoLabels]:
    """Pseudo-labels given by path, weighted by the scores of a file, or by a weighting that needs none."""
    names = [folder.stem.removeprefix("source=") for folder in folders]
    if len(set(names)) < len(names):
        raise ParameterError("two folders of `pseudo` have the same name", "rename one: it is the source's name")
    outputs = {name: _read_output(folder) for name, folder in zip(names, folders, strict=True)}
    silent = [name for name, folder in zip(names, folders, strict=True) if _is_silent(name, folder, outputs[name])]
    folders = [folder for name, folder in zip(names, folders, strict=True) if name not in silent]
    names = [name for name in names if name not in silent]
    if not names:
        raise ParameterError(f"no source is left to learn from: {', '.join(silent)}", "name others in `pseudo`")
    method = ranking.weighting.method
    if scores is not None:
        ranked = rank.rank_scores_file(Config(Path()), ranking, scores, names, pseudo=True)
        weights, dropped = ranked.weights, ranked.dropped
    elif method.name in ("equal", "file", "random") or method.params == {"p": 0}:
        weighed = source_weights.weigh_without_scores(method, names, min_weight, silent)
        weights, dropped = dict(zip(names, map(float, weighed.values), strict=True)), weighed.dropped
    else:
        raise ParameterError(
            f"`weightings` {ranking.weighting.text} needs scores", "give `scores`, or use `weightings` equal"
        )
    weights = {name: weight for name, weight in weights.items() if weight}
    _check_left(weights, dropped, min_weight)
    loaded = []
    for name, folder in zip(names, folders, strict=True):
        if name in weights:
            digest = feature_files.content_digest(folder)
            loaded.append(PseudoLabels(name, folder, weights[name], outputs[name], digest))
    return loaded


def _read_output(folder: Path) -> str:
    """What the logits were for of which a folder holds the probabilities: softmax or sigmoid."""
    header = parquet_files.read_header(feature_files.find_parts(folder)[0])
    return str(header.get("inputs", {}).get("output", "softmax"))


def _is_silent(name: str, folder: Path, output: str) -> bool:
    """Whether pseudo-labels say nothing: they are of one softmax class, or the same for every image. Says which."""
    if output == "softmax" and feature_files.output_width(folder) == 1:
        console.say(f"{name} is excluded: a softmax head of one class")
        return True
    if summarise_path(folder, output).collapsed:
        console.say(f"{name} is excluded: undefined: {COLLAPSED}")
        return True
    return False
