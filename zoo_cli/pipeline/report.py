"""`zoo report`: what a workspace holds as one page to look at. Nothing is computed that another command would store."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from zoo_cli import config, console
from zoo_cli.config import Config
from zoo_cli.errors import UsageError, ZooError
from zoo_cli.pipeline.report_sections.accuracy_section import accuracy_section
from zoo_cli.pipeline.report_sections.cost_section import cost_section, score_section
from zoo_cli.pipeline.report_sections.errors_section import calibration_section, confusion_section
from zoo_cli.pipeline.report_sections.flips_section import flips_section
from zoo_cli.pipeline.report_sections.heads_section import heads_section
from zoo_cli.pipeline.report_sections.knowledge_section import knowledge_section
from zoo_cli.pipeline.report_sections.ranking_section import load_ranking, ranking_section, weights_section
from zoo_cli.pipeline.report_sections.report_images import Thumbnails
from zoo_cli.pipeline.report_sections.report_inputs import ReportInputs, load_inputs
from zoo_cli.pipeline.report_sections.task_section import task_section
from zoo_cli.pipeline.report_sections.training_section import training_section
from zoo_cli.report import page
from zoo_cli.report.blocks import Block, Fact, Facts, Missing, Paragraph, Plot, Section, Target
from zoo_cli.report.wording import LEVEL, MISSING, show_count, show_name, show_percent, show_points, show_range
from zoo_cli.store import commits, files

FILE = "report.html"
ARTIFACTS = (config.FILE, "manifest.parquet", "ranking.parquet", "runs", "features", "scores")
"""One of them is in every workspace."""

Build = Callable[[], Iterator[Block]]


@dataclass(frozen=True)
class ReportConfig:
    """`workspaces`: one page for all of them; `out`: its file; `plots`: a folder for the plots as files, None: none."""

    workspaces: tuple[Path, ...]
    out: Path
    plots: Path | None = None


@dataclass(frozen=True)
class ReportResult:
    """The page, its size in bytes, the plots as files, and what it could not show, by workspace."""

    path: Path
    size: int
    plots: tuple[Path, ...]
    missing: dict[str, list[str]]


def write_report(options: ReportConfig) -> ReportResult:
    """Write the page, and the plots where asked. What is missing or damaged is named on the page.

    Raises UsageError for a folder that is not a workspace, and where a package of the extra `plot` is missing.
    """
    page.check_packages()
    workspaces = [_load_workspace(place) for place in options.workspaces]
    targets = [_build_target(settings) for settings in workspaces]
    if len(targets) > 1:
        targets = [_number_plots(target, number) for number, target in enumerate(targets, 1)]
    text = page.render_page(targets)
    files.write_text(options.out, text)
    plots = () if options.plots is None else _write_plots(options.plots, targets)
    missing = {target.place: target.missing for target in targets if target.missing}
    return ReportResult(options.out, len(text.encode()), plots, missing)


def _load_workspace(place: Path) -> Config:
    settings = config.load(place)
    if not any((place / name).exists() for name in ARTIFACTS):
        raise UsageError(f"no workspace at {place}", f"it has no {config.FILE}, and nothing that zoo writes")
    return settings


def _build_target(settings: Config) -> Target:
    """The report on one workspace."""
    with console.use(_Collector()):
        inputs = load_inputs(settings)
    thumbnails = None if inputs.images is None else Thumbnails(inputs.images)
    builders: tuple[tuple[str, str, Build], ...] = (
        ("task", "Task and data", partial(task_section, inputs, thumbnails)),
        ("ranking", "Ranking of the sources", partial(ranking_section, inputs)),
        ("weights", "Weights of the sources", partial(weights_section, inputs)),
        ("heads", "What the sources know together", partial(heads_section, inputs, thumbnails)),
        ("training", "Training", partial(training_section, inputs)),
        ("accuracy", "Accuracy of the students", partial(accuracy_section, inputs)),
        ("gained", "Images gained and lost", partial(flips_section, inputs, thumbnails)),
        ("confusions", "Confusions", partial(confusion_section, inputs)),
        ("calibration", "Calibration", partial(calibration_section, inputs)),
        ("knowledge", "Complementary knowledge", partial(knowledge_section, inputs)),
        ("scores", "Scores against accuracies", partial(score_section, inputs)),
        ("cost", "Accuracy against cost", partial(cost_section, inputs)),
    )
    sections = tuple(_build_section(key, title, build, settings.root) for key, title, build in builders)
    name = settings.task.name or settings.root.resolve().name
    return Target(show_name(name), show_name(settings.root, 120), _headline(inputs), sections, _summarize(inputs))


def _build_section(key: str, title: str, build: Build, root: Path) -> Section:
    """A section with what can be shown of it, and what cannot."""
    blocks: list[Block] = []
    collector = _Collector()
    with console.use(collector):
        try:
            blocks.extend(build())
        except ZooError as error:
            blocks.append(Missing(show_name(error.message, 300), show_name(error.hint, 300)))
    blocks += [Paragraph(show_name(text, 300), "note") for text in dict.fromkeys(collector.warnings)]
    return Section(key, title, tuple(_shorten_paths(block, root) for block in blocks))


def _shorten_paths(block: Block, root: Path) -> Block:
    """Messages with paths relative to the workspace: the same for every name under which it is called."""
    if isinstance(block, Missing):
        return Missing(block.text.replace(f"{root}/", ""), block.hint.replace(f"{root}/", ""))
    return replace(block, text=block.text.replace(f"{root}/", "")) if isinstance(block, Paragraph) else block


@dataclass
class _Collector(console.Console):
    """A console that keeps warnings, which belong on the page, and drops messages."""

    verbosity: int = -1
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def _headline(inputs: ReportInputs) -> Facts:
    """The numbers at the head of a report."""
    facts = []
    if inputs.run_set is not None:
        first, best = inputs.run_set.first, inputs.run_set.best
        interval = show_range(best.accuracy_low, best.accuracy_high)
        facts.append(Fact("best student", show_percent(best.accuracy), f"{show_name(best.run, 40)}, {interval}"))
        if best.comparison is not None:
            difference = best.comparison.difference
            text = f"points, {show_points(difference.low)} to {show_points(difference.high)}"
            facts.append(Fact(f"against {show_name(first.run, 30)}", show_points(difference.difference), text))
    try:
        with console.use(_Collector()):
            ranking = load_ranking(inputs.settings).ranking
        top = ranking.rows[0]
        fit = {"yes": "fits the task", "no": "does not fit the task"}.get(top.fit or "", "whether it fits is open")
        facts.append(Fact("best source", show_name(top.source, 30), fit))
    except (ZooError, IndexError):
        pass
    if inputs.images is not None:
        labelled = int((inputs.images.split == "labelled").sum())
        facts.append(Fact("labels", show_count(labelled), f"of {len(inputs.images):,} images"))
    return Facts(tuple(facts) or (Fact("nothing is stored yet", MISSING),))


def _summarize(inputs: ReportInputs) -> dict[str, str]:
    """The row of a workspace in the table of targets."""
    facts = {fact.label: fact for fact in _headline(inputs).rows}
    run_set = inputs.run_set
    best = None if run_set is None else run_set.best
    compared = None if best is None or best.comparison is None else best.comparison.difference
    images = inputs.images
    return {
        "classes": show_count(len(inputs.classes) or None),
        "labels": show_count(None if images is None else int((images.split == "labelled").sum())),
        "best source": facts["best source"].value if "best source" in facts else MISSING,
        "runs": show_count(None if run_set is None else len(run_set.runs)),
        "best accuracy": show_percent(best.accuracy if best else None),
        LEVEL: show_range(best.accuracy_low, best.accuracy_high) if best else MISSING,
        "difference": show_points(None if compared is None else compared.difference),
    }


def _number_plots(target: Target, number: int) -> Target:
    """The target with plots whose names do not meet those of others."""
    return replace(
        target,
        sections=tuple(
            replace(
                section,
                blocks=tuple(
                    replace(block, name=f"{number}-{block.name}") if isinstance(block, Plot) else block
                    for block in section.blocks
                ),
            )
            for section in target.sections
        ),
    )


def _write_plots(folder: Path, targets: Sequence[Target]) -> tuple[Path, ...]:
    paths = []
    for plot in page.render_plots(targets):
        svg, png = folder / f"{plot.name}.svg", folder / f"{plot.name}.png"
        files.write_text(svg, plot.svg)
        with commits.replacing(png) as temporary:
            temporary.write_bytes(plot.png)
        paths += [svg, png]
    return tuple(paths)
