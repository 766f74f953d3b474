"""A workspace: the steps of the pipeline as methods."""

import os
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, overload

from zoo_cli import config, label_sets, registry
from zoo_cli.api.silence import silent
from zoo_cli.config import STUDENT, Config, Source
from zoo_cli.errors import ParameterError, UsageError
from zoo_cli.pipeline import distill as distill_stage
from zoo_cli.pipeline import export as export_stage
from zoo_cli.pipeline import extract as extract_stage
from zoo_cli.pipeline import finetune as finetune_stage
from zoo_cli.pipeline import head_labels, label_split, view_choice
from zoo_cli.pipeline import predict as predict_stage
from zoo_cli.pipeline import pseudo_label as pseudo_label_stage
from zoo_cli.pipeline import rank as rank_stage
from zoo_cli.pipeline import score as score_stage
from zoo_cli.pipeline import split as split_stage
from zoo_cli.pipeline.distill_config import CrossTaskConfig, DistillConfig, HeadsConfig
from zoo_cli.pipeline.export import ExportConfig, ExportResult
from zoo_cli.pipeline.extract_config import ExtractConfig
from zoo_cli.pipeline.finetune_config import FinetuneConfig
from zoo_cli.pipeline.head_config import configure_heads
from zoo_cli.pipeline.metric_specs import ScoreConfig, parse_metrics, size_metrics
from zoo_cli.pipeline.predict import PredictConfig, PredictResult
from zoo_cli.pipeline.pseudo_label import PseudoLabelSummary
from zoo_cli.pipeline.rank import Ranking
from zoo_cli.pipeline.ranking_spec import parse_ranking
from zoo_cli.pipeline.report import FILE, ReportConfig, ReportResult, write_report
from zoo_cli.pipeline.scoring import ScoreResult
from zoo_cli.pipeline.sources import SourceSummary, list_sources
from zoo_cli.pipeline.split import SplitConfig, SplitSummary
from zoo_cli.shards import parse_shard
from zoo_cli.store import feature_store
from zoo_cli.store.head_store import HeadRecord
from zoo_cli.training.run_paths import RunPaths
from zoo_cli.training.run_record import RunResult
from zoo_cli.training.training_config import TrainingConfig
from zoo_cli.trust import open_workspace, trust_folders

PathLike = str | os.PathLike[str]
Names = str | Sequence[str]


class Workspace:
    """A folder with a zoo.toml. Its methods are the steps of the pipeline.

    Each makes missing inputs first, and nothing that is up to date. Names of sources are those of zoo.toml, or
    PROVIDER:NAME. Paths among the arguments are relative to the current folder, paths in zoo.toml to the file.

    Every method raises a `ZooError`: UsageError for wrong arguments, a wrong zoo.toml or stale inputs, which
    `refresh=True` makes again; ContractError for a corrupt file; TooManyErrors after the work is done, if more images
    could not be read than `max_errors`.
    """

    def __init__(self, root: PathLike = ".", *, labels: str | None = None, trust: Sequence[PathLike] = ()):
        """`labels`: the label set of every step, made by `split`; None: the main one.

        `trust`: folders whose models may run the code that they name, from now on in this process.
        """
        self.root = Path(root)
        self.labels = labels
        open_workspace(self.root)
        trust_folders(map(Path, trust))

    def __repr__(self) -> str:
        labels = "" if self.labels is None else f", labels={self.labels!r}"
        return f"Workspace({str(self.root)!r}{labels})"

    @property
    def config(self) -> Config:
        """The task, the student and the sources, as zoo.toml has them now."""
        return label_sets.load_config(self.root, self.labels)

    @silent
    def sources(self) -> tuple[SourceSummary, ...]:
        """The sources, then the student, with what is declared and stored of each."""
        return list_sources(self.root)

    @silent
    def split(
        self,
        *,
        train: Names = (),
        test: Names = (),
        unlabelled: Names = (),
        labelled: str | None = None,
        probe: int | str | None = None,
        probe_per_class: int | None = None,
        seed: int | None = None,
        follow_links: bool | None = None,
        check: str | None = None,
        max_errors: str | None = None,
        workers: int | None = None,
        overwrite: bool = False,
    ) -> SplitSummary:
        """Draw labelled, unlabelled, test and probe images; check and hash every image, and count what stands out.

        What is set here wins over [task] of zoo.toml, in later steps too. Of a label set, only the labelled and probe
        images are drawn: its other images are those of the main one.
        """
        options = SplitConfig(
            train=list(_texts(train)) or None,
            test=list(_texts(test)) or None,
            unlabelled=list(_texts(unlabelled)) or None,
            labelled=labelled,
            probe=probe,
            probe_per_class=probe_per_class,
            seed=seed,
            follow_links=follow_links,
            check=check,
            max_errors=max_errors,
            workers=workers,
            overwrite=overwrite,
        )
        settings = config.load(self.root)
        if self.labels is not None:
            summary = label_split.split_labels(settings, self.labels, options)
        else:
            summary = split_stage.split(settings, options)
        assert summary is not None, "not a dry run"
        return summary

    @silent
    def extract(
        self,
        sources: Names = (),
        *,
        gradients: bool = False,
        projection: int | str | None = None,
        views: int = 0,
        augment: str | None = None,
        batch_size: int | str = "auto",
        device: str = "auto",
        precision: str = "fp32",
        max_errors: str | None = None,
        workers: int | None = None,
        overwrite: bool = False,
        refresh: bool = False,
        shard: str | None = None,
        engine: str | None = None,
    ) -> list[feature_store.SourceSummary]:
        """Store the features (N, D) and logits (N, K) of sources on the training and unlabelled images.

        All sources and the student by default. `gradients`: of the probe set too, which lgc needs.
        `views`: of that many augmented views of each image too, made with `augment`, by default crop. `shard`: only the
        parts of job I of N, as "I/N". `engine`: run the sources on a cluster, "ray".
        """
        settings = self.config
        options = ExtractConfig(
            batch_size=str(batch_size),
            device=device,
            precision=precision,
            workers=workers,
            max_errors=max_errors,
            gradients=gradients,
            projection=None if projection is None else str(projection),
            views=views,
            augment=augment,
            overwrite=overwrite,
            refresh=refresh,
            shard=parse_shard(shard),
            engine=engine,
        )
        models = settings.select(_texts(sources)) if sources else settings.models
        return extract_stage.extract(settings, _require(settings, models), options)

    @silent
    def score(
        self,
        metric: Names = registry.DEFAULT_METRIC,
        *,
        on: str | None = None,
        sources: Names = (),
        reference: PathLike | None = None,
        probe_per_class: int | None = None,
        intervals: bool = True,
        seed: int | None = None,
        overwrite: bool = False,
        refresh: bool = False,
    ) -> ScoreResult:
        """Score sources, and the student's starting features, on the probe set: one row a metric and source.

        `metric`: one or several, as NAME or NAME:key=value; higher is better. `on`: features or probs, the metric's own
        by default. `reference`: stored features of a network trained on the task, for rsa-ref. `probe_per_class`: use
        at most so many images of each class of the probe set; None: all. Without `intervals`: values alone, which
        take much less time.
        """
        settings = self.config
        options = ScoreConfig(
            size_metrics(parse_metrics(_texts(metric), on), [probe_per_class]),
            _require(settings, settings.select(_texts(sources))),
            seed=seed,
            reference=None if reference is None else Path(reference),
            overwrite=overwrite,
            refresh=refresh,
            intervals=intervals,
        )
        return score_stage.score(settings, options)

    @silent
    def rank(
        self,
        metric: Names = registry.DEFAULT_METRIC,
        *,
        on: str | None = None,
        weighting: str = registry.DEFAULT_WEIGHTING,
        sources: Names = (),
        plasticity: bool = False,
        seed: int | None = None,
        strict: bool = False,
        overwrite: bool = False,
        refresh: bool = False,
    ) -> Ranking:
        """Rank sources: `rows` from best to worst, `weights`, `verdict`, `to_arrow()`, `to_pandas()`.

        Writes ranking.parquet and weights.json. `metric`: one, or several, whose mean z-score then counts.
        `plasticity`: add the capacity term, the depth of a source / 50. `strict`: raise ContractError for a source that
        was trained on test images, of which there is a warning otherwise.
        """
        settings = self.config
        spec = parse_ranking(_texts(metric), on, weighting, plasticity)
        models = _require(settings, settings.select(_texts(sources)))
        options = ScoreConfig(spec.metrics, models, seed=seed, overwrite=overwrite, refresh=refresh)
        return rank_stage.rank(settings, spec, options, strict=strict)

    @overload
    def pseudo_label(
        self,
        sources: Names = (),
        *,
        head: None = None,
        views: int = 0,
        overwrite: bool = False,
        refresh: bool = False,
        shard: str | None = None,
    ) -> list[PseudoLabelSummary]: ...
    @overload
    def pseudo_label(
        self,
        sources: Names = (),
        *,
        head: str,
        pool: str | None = None,
        with_student: bool = False,
        views: int = 0,
        overwrite: bool = False,
        refresh: bool = False,
    ) -> HeadRecord: ...
    @silent
    def pseudo_label(
        self,
        sources: Names = (),
        *,
        head: str | None = None,
        pool: str | None = None,
        with_student: bool = False,
        views: int = 0,
        overwrite: bool = False,
        refresh: bool = False,
        shard: str | None = None,
    ) -> list[PseudoLabelSummary] | HeadRecord:
        """Store the class probabilities (N, K) of sources on the labelled and unlabelled images.

        With `head`, e.g. ridge: the probabilities (N, C) of the task's classes, by a pool of heads on the features of
        all sources; returned are its heads and its estimated accuracy. `with_student`: one on the student's features.
        `views`: answer for this number of stored views of each image. `shard`: only the parts of job I of N, as "I/N".
        """
        settings = self.config
        if shard is not None and head is not None:
            raise ParameterError("`shard` and `head` cannot be combined", "the heads are fitted once, in one job")
        chosen_views = view_choice.stored_views(settings, views, refresh=refresh)
        if head is not None:
            names = _texts(sources)
            labels = configure_heads(
                settings, head, pool or registry.DEFAULT_POOL, names, with_student=with_student, views=chosen_views
            )
            return head_labels.label_with_heads(settings, labels, overwrite=overwrite, refresh=refresh)
        if pool is not None or with_student:
            raise ParameterError("`pool` and `with_student` need `head`", 'add head="ridge"')
        models = [source for source in settings.select(_texts(sources)) if source.name != STUDENT]
        return pseudo_label_stage.pseudo_label(
            settings,
            _require(settings, models),
            overwrite=overwrite,
            refresh=refresh,
            views=chosen_views,
            shard=parse_shard(shard),
        )

    def distill(
        self,
        weighting: str | None = None,
        *,
        lam: float | None = None,
        metric: str | None = None,
        sources: Names = (),
        student: str | None = None,
        config: DistillConfig | None = None,
        training: TrainingConfig | None = None,
        seed: int | None = None,
        name: str | None = None,
        overwrite: bool = False,
    ) -> RunResult:
        """Train one student, from pseudo-labels of weighted sources, heads or teachers; its `path` is runs/NAME.

        `weighting`: p=12 by default. `lam`: share of the labels in the loss, 0.8 by default; 1 uses no source.
        `metric`: whose scores are weighed, parc by default. `config`: all other options; a `HeadsConfig` trains with
        heads on the features of the sources, a `TransferConfig` with teachers of the task's own classes. What is given
        beside it wins over it.

        Raises Paused, after a checkpoint, when `max_time` of the training options is over: call it again to go on.
        """
        options: DistillConfig = CrossTaskConfig() if config is None else config
        values = {"lam": lam, "metric": metric, "student": student, "sources": _texts(sources) or None}
        values["weightings"] = None if weighting is None else (weighting,)
        changed: dict[str, Any] = {key: value for key, value in values.items() if value is not None}
        for key in sorted(changed.keys() - {field.name for field in fields(options)}):
            raise ParameterError(f"`{key.removesuffix('s')}` is an option of CrossTaskConfig", "drop it, or `config`")
        options = replace(options, **changed)
        several = isinstance(options, CrossTaskConfig) and (options.each_source or len(options.all_weightings) > 1)
        if several or (isinstance(options, HeadsConfig) and len(options.weightings) > 1):
            raise ParameterError("`config` is of several students", "distill_runs trains them")
        seeds = () if seed is None else (seed,)
        (run,) = self.distill_runs(options, training=training, seeds=seeds, name=name, overwrite=overwrite)
        return run

    @silent
    def distill_runs(
        self,
        config: DistillConfig,
        *,
        training: TrainingConfig | None = None,
        seeds: Sequence[int] = (),
        name: str | None = None,
        overwrite: bool = False,
    ) -> list[RunResult]:
        """Train a student for each weighting or source of `config` and each seed, the images decoded once for all.

        `seeds`: that of the task by default. `name`: of the run, if there is only one. Raises as `distill` does.
        """
        paths = RunPaths(name, None, tuple(seeds), overwrite)
        return distill_stage.distill(self.config, config, training, paths)

    def finetune(
        self,
        source: str,
        *,
        objective: str = FinetuneConfig.objective,
        freeze: str | None = None,
        rates: Sequence[float] = (),
        training: TrainingConfig | None = None,
        seed: int | None = None,
        name: str | None = None,
        overwrite: bool = False,
    ) -> RunResult:
        """Train one pretrained model on the labels.

        `source`: a model by name, "student", "best" or "best:ARCHITECTURE". `objective`: supervised, or fixmatch, which
        also uses the unlabelled images. `freeze`: "body" trains only the new head. `rates`: learning rates, of which
        held-out labels choose one. Raises as `distill` does.
        """
        options = FinetuneConfig((source,), objective=objective, freeze=freeze, rates=tuple(rates))
        seeds = () if seed is None else (seed,)
        (run,) = self.finetune_runs(options, training=training, seeds=seeds, name=name, overwrite=overwrite)
        return run

    @silent
    def finetune_runs(
        self,
        config: FinetuneConfig,
        *,
        training: TrainingConfig | None = None,
        seeds: Sequence[int] = (),
        name: str | None = None,
        overwrite: bool = False,
    ) -> list[RunResult]:
        """Train each source of `config` with each seed. `seeds`, `name` and errors as in `distill_runs`."""
        paths = RunPaths(name, None, tuple(seeds), overwrite)
        return finetune_stage.finetune(self.config, config, training, paths)

    @silent
    def predict(
        self,
        data: Names,
        run: PathLike | None = None,
        *,
        head: str | None = None,
        pool: str | None = None,
        sources: Names = (),
        with_student: bool = False,
        out: PathLike | None = None,
        batch_size: int | None = None,
        device: str = "auto",
        max_errors: str | None = None,
        workers: int | None = None,
        csv_safe: bool = False,
    ) -> PredictResult:
        """Predict the classes of images, which need no labels: `rows`, one an image that can be read, `failed`, others.

        `data`: PROVIDER:PATH, one or several. `run`: a run by folder or name, or a model; without it, the stored pool
        of heads answers, as `pseudo_label` made it with `head`, `pool`, `sources` and `with_student`. `out`: a
        .parquet, .csv or .tsv file to write instead of `rows`. `csv_safe`: texts of these that a spreadsheet would
        calculate begin with an apostrophe.
        """
        options = PredictConfig(
            _texts(data),
            run=None if run is None else str(run),
            head=head,
            pool=pool,
            sources=_texts(sources),
            with_student=with_student,
            out=None if out is None else Path(out),
            batch_size=batch_size,
            device=device,
            max_errors=max_errors,
            workers=workers,
            csv_safe=csv_safe,
        )
        settings = self.config
        result = predict_stage.predict(settings, options)
        predict_stage.record_failures(settings, options, result)
        return result

    @silent
    def export(
        self,
        run: PathLike,
        *,
        format: str = ExportConfig.form,
        with_preprocessing: bool = False,
        quantize: str | None = None,
        out: PathLike | None = None,
        overwrite: bool = False,
        workers: int | None = None,
    ) -> ExportResult:
        """Export the student of a run as one file, after comparing its logits on the test images with the run's.

        `run`: by folder or name; a domain of an expert as FOLDER#NAME. `format`: onnx or pt2. `with_preprocessing`:
        take decoded pixels, uint8, and normalise them inside. `quantize`: int8, with what it costs in `int8`. `out`:
        model.onnx in the folder of the run by default.
        """
        options = ExportConfig(
            str(run), format, with_preprocessing, quantize, None if out is None else Path(out), overwrite, workers
        )
        return export_stage.export_run(self.config, options)

    @silent
    def report(self, out: PathLike | None = None, *, plots: PathLike | None = None) -> ReportResult:
        """Write one HTML page of what is stored, and name what is missing; nothing is made. Needs the extra `plot`.

        `out`: the file, report.html in the workspace by default; `plots`: a folder for every plot as SVG and PNG.
        """
        page = self.root / FILE if out is None else Path(out)
        return write_report(ReportConfig((self.root,), page, None if plots is None else Path(plots)))


def _texts(values: Names) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)


def _require(settings: Config, sources: Sequence[Source]) -> tuple[Source, ...]:
    """The sources, if there are any."""
    if not sources:
        raise UsageError(f"no source in {settings.root / config.FILE}", "add a [[source]] table, or name `sources`")
    return tuple(sources)
