"""The trials of `zoo tune`: runs without the held-out images of a split, in `tune/split-NN/runs/CANDIDATE/`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo_cli import console, devices
from zoo_cli.config import Config
from zoo_cli.data.hold_out import hash_id, hold_out_positions
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.evaluation import flip_statistics
from zoo_cli.evaluation.named_runs import LABELS_ONLY
from zoo_cli.evaluation.tuning import HoldOut, Trial
from zoo_cli.pipeline import cross_task_runs, finetune_runs, heads_runs, prepare
from zoo_cli.pipeline.distill_plans import CrossTaskPlan, HeadsPlan
from zoo_cli.pipeline.source_weights import NoWeight
from zoo_cli.pipeline.training_task import TrainingTask
from zoo_cli.pipeline.tune_plans import CandidatePlan, FixMatchPlan, SearchPlan
from zoo_cli.progress import Progress
from zoo_cli.store import feature_files, files, lease, provenance
from zoo_cli.store.checksums import is_finished
from zoo_cli.store.manifest import Images
from zoo_cli.store.provenance import Stale
from zoo_cli.store.swap import run_place
from zoo_cli.training import loop, runner
from zoo_cli.training.image_cache import ImageCache
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_spec import RunSpec
from zoo_cli.training.sweep import load_groups

HELD_OUT = 0.2
"""The share of the labelled images of each class that a split holds out."""
ABSENT = "absent"
"""The split of images that a trial does not see."""


@dataclass(frozen=True)
class TrialConfig(Config):
    """The workspace of one split: the images, features and pseudo-labels of the task; scores, pools and runs of its
    own in `folder`."""

    folder: Path = Path()

    @property
    def labels_root(self) -> Path:
        """The folder of all that depends on which images are labelled."""
        return self.folder

    def run(self, name: str) -> Path:
        """The folder of a trial."""
        return self.folder / "runs" / name


@dataclass(frozen=True)
class Split:
    """One split: its images, of which those in the test part are held out, its rule's view of it, and its seed."""

    number: int
    images: Images
    held_out: np.ndarray
    sizes: HoldOut
    seed: int


def draw_splits(images: Images, count: int, seed: int) -> list[Split]:
    """Stratified hold-outs of the labelled images. Raises UsageError if no class has two of them.

    The held-out images are neither labelled nor unlabelled, nor in the probe set. The test images are absent, and so
    are images with the bytes, or of the group, of one that is held out.
    """
    rows = images.where(split=("labelled",))
    groups = load_groups(images)
    ids, labels = [str(name) for name in images.ids[rows]], [int(label) for label in images.labels[rows]]
    splits = []
    for number in range(count):
        draw_seed = int.from_bytes(hash_id(seed, "tune", str(number))[:6])
        positions = np.array(hold_out_positions(ids, labels, list(groups[rows]), HELD_OUT, draw_seed), dtype=np.int64)
        if not len(positions):
            raise UsageError(
                "no class has two labelled images: none can be held out",
                "label more images, or raise `labelled` in zoo.toml; then zoo split --overwrite",
            )
        splits.append(_make_split(images, groups, rows, positions, number, seed + number))
    return splits


def _make_split(
    images: Images, groups: np.ndarray, rows: np.ndarray, positions: np.ndarray, number: int, seed: int
) -> Split:
    held_out = rows[positions]
    held_groups = set(groups[held_out]) - {None}
    alike = images.sha256.isin(images.sha256.take(held_out)) | np.array([group in held_groups for group in groups])
    split = np.where((images.split == "test") | alike, ABSENT, images.split)
    split[held_out] = "test"
    left = np.flatnonzero(split == "labelled")
    counts = np.bincount(images.labels[left], minlength=1)
    # A score needs two images of a class.
    probe = np.zeros(len(images), bool)
    probe[left] = images.probe[left] & (counts[images.labels[left]] > 1)
    return Split(
        number, replace(images, split=split, probe=probe), held_out, HoldOut(positions, max(1, len(left))), seed
    )


class Trials:
    """The trials of a search. The images are decoded once for all of them, and pseudo-labels are those of the task.

    `steps`: of every run. `overwrite`: trials made from other inputs are made again.
    """

    def __init__(self, task: TrainingTask, plan: SearchPlan, splits: Sequence[Split], steps: int, *, overwrite: bool):
        self.task, self.plan, self.splits, self.overwrite = task, plan, splits, overwrite
        self.candidates = {name: _set_steps(each, steps) for name, each in plan.candidates.items()}
        self._cache: ImageCache | None = None
        self._prepared: set[Trial] = set()

    def evaluate(self, trials: Sequence[Trial]) -> dict[Trial, np.ndarray | str]:
        """Train trials that are not finished; how each answers its held-out images (M,), 1: right. The reason instead
        for one that cannot be trained.

        Those that another process trains are left to it, and waited for at the end.
        """
        answers: dict[Trial, np.ndarray | str] = {}
        pending = list(trials)
        with Progress("tune", len(trials), "runs") as progress:
            while pending:
                trial = next((each for each in pending if not self._is_taken(each)), pending[0])
                pending.remove(trial)
                try:
                    with _without_messages():
                        spec = self._make_spec(trial)
                except NoWeight as error:
                    answers[trial] = f"{error.message} without the held-out labels"
                    console.warn(f"dropped {trial.candidate}: {answers[trial]}")
                    progress.advance(1)
                    continue
                if self._is_taken(trial):
                    if not all(map(self._is_taken, pending)):
                        pending.append(trial)
                        continue
                    console.say(f"waiting for another process, which makes {self._path(trial)}")
                with _without_messages():
                    answers[trial] = self._train(trial, spec)
                progress.advance(1)
        return answers

    def measure_seconds(self, trial: Trial) -> float:
        """How long the training of a finished trial took."""
        path = self._path(trial)
        content = files.read_json(path.with_name(f"{path.name}.log.json"))
        if not isinstance(content, dict) or not isinstance(content.get("seconds"), int | float):
            raise ContractError(f"{path.with_name(f'{path.name}.log.json')} does not hold the seconds of a run")
        return float(content["seconds"])

    def _path(self, trial: Trial) -> Path:
        return self._settings(trial.split).run(trial.candidate)

    def _settings(self, split: int) -> TrialConfig:
        values: dict[str, Any] = {**vars(self.task.settings), "folder": self.plan.folder / f"split-{split:02}"}
        return TrialConfig(**values)

    def _is_taken(self, trial: Trial) -> bool:
        path = self._path(trial)
        return not is_finished(path) and lease.has_lease(path)

    def _train(self, trial: Trial, spec: RunSpec) -> np.ndarray | str:
        each = self.candidates[trial.candidate]
        if self._cache is None:
            images = self.task.images
            device = devices.choose(each.training.device, purpose="training")
            rows = images.where(split=("labelled", "unlabelled"))
            self._cache = ImageCache(images, rows, device, each.training.workers, place=each.training.images)
        try:
            runner.train_runs([spec], each.training, cache=self._cache)
        except loop.NonFinite as error:
            if trial.candidate == LABELS_ONLY:
                raise
            console.warn(f"dropped {trial.candidate}: {error.message}")
            return "diverged"
        outputs = feature_files.load_outputs(run_place(spec.path) / "predictions.parquet", columns=("logits",))
        assert outputs.logits is not None, "a run predicts logits"
        return np.asarray(flip_statistics.predicted_classes(outputs.logits) == outputs.labels, dtype=float)

    def _make_spec(self, trial: Trial) -> RunSpec:
        """The run of a trial, for which the scores and pools of its split are made if they are missing."""
        each, split = self.candidates[trial.candidate], self.splits[trial.split]
        settings = self._settings(trial.split)
        plan = replace(each.plan, settings=settings)
        task = replace(self.task, settings=settings, training=each.training, images=split.images)
        self._prepare(trial, plan, split)
        paths = RunPaths(out=self._path(trial), seeds=(split.seed,))
        spec = make_run_spec(plan, task, paths)
        if self.overwrite:
            try:
                runner.check_runs([spec], each.training, devices.choose(each.training.device, purpose="training"))
            except Stale:
                return replace(spec, path=lease.staging(spec.path))
        return spec

    def _prepare(self, trial: Trial, plan: CrossTaskPlan | HeadsPlan | FixMatchPlan, split: Split) -> None:
        needs = plan.needs(refresh=self.overwrite)
        if trial in self._prepared or (needs.scores is None and needs.head_labels is None):
            return
        folder = self._settings(trial.split).folder
        split_lease = lease.take(folder, provenance.fingerprint("tune", trial.split), None)
        try:
            if needs.scores is not None:
                prepare.maker("score")(plan.settings, split.images, needs.scores)
            if needs.head_labels is not None:
                prepare.maker("head-labels")(plan.settings, split.images, needs.head_labels, refresh=self.overwrite)
        finally:
            split_lease.release()
        self._prepared.add(trial)


def _set_steps(candidate: CandidatePlan, steps: int) -> CandidatePlan:
    training = candidate.training
    return replace(candidate, training=replace(training, loop=replace(training.loop, steps=steps), epochs=None))


def make_run_spec(plan: CrossTaskPlan | HeadsPlan | FixMatchPlan, task: TrainingTask, paths: RunPaths) -> RunSpec:
    """The run of a candidate's plan."""
    if isinstance(plan, FixMatchPlan):
        (spec,) = finetune_runs.make_run_specs(plan.config, task, [plan.student], paths)
    elif isinstance(plan, HeadsPlan):
        (spec,) = heads_runs.make_run_specs(plan, task, paths)
    else:
        (spec,) = cross_task_runs.make_run_specs(plan, task, paths, cross_task_runs.select_targets(plan))
    return spec


@contextmanager
def _without_messages() -> Iterator[None]:
    """The context in which the stages of a trial say nothing but warnings, unless --verbose."""
    usual = console.current()
    with console.use(console.Console(usual.out, usual.err, usual.verbosity if usual.verbosity > 0 else -1)):
        yield
