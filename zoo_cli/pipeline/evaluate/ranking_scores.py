"""SCORES of `zoo evaluate ranking`: of a workspace, a folder of workspaces, a file that zoo wrote, or a table."""

from collections.abc import Sequence
from pathlib import Path

from zoo_cli import config, console
from zoo_cli.errors import UsageError
from zoo_cli.evaluation import score_tables, tables
from zoo_cli.evaluation.score_tables import Score, Scores
from zoo_cli.pipeline import leakage
from zoo_cli.pipeline.evaluate import ranking_controls
from zoo_cli.store import parquet_files, replacement, schemas


def load_scores(path: Path, labels: str | None = None) -> Scores:
    """The scores at a path: a table, a scores file or folder, a workspace, or a folder of workspaces.

    `labels`: the label set of workspaces; None: the main one. The target of a workspace is the task's name; sources
    that have seen it are left out, with a message. Raises UsageError if there are no scores.
    """
    scores: list[Score] = []
    excluded: set[tuple[str, str]] = set()
    controls: dict[str, dict[str, dict[str, float]]] = {}
    if path.is_file() and not _is_scores_file(path):
        scores = score_tables.read_score_table(tables.load_table(path))
    else:
        for folder, paths in _score_folders(path, labels).items():
            task_scores, task_excluded, sizes = _read_workspace(folder, paths)
            scores += task_scores
            excluded |= task_excluded
            for control, row in sizes.items():
                controls.setdefault(control, {})[task_scores[0].target if task_scores else ""] = row
    if not scores:
        raise UsageError(f"no scores in {path}", "zoo score makes them")
    return score_tables.collect_scores(scores, excluded, controls)


def _is_scores_file(path: Path) -> bool:
    return path.suffix == ".parquet" and parquet_files.read_header(path).get("schema") == schemas.SCORES.tag


def _score_folders(path: Path, labels: str | None) -> dict[Path, list[Path]]:
    """The scores files by their folder."""
    if path.is_file():
        return {path.parent: [path]}
    if not path.is_dir():
        raise UsageError(f"no file or folder {path}", "SCORES is a workspace, its scores, or a table")
    inside = "scores" if labels is None else f"{config.LABELS}/{labels}/scores"
    folders = [path / inside] if (path / inside).is_dir() else sorted(path.glob(f"*/{inside}"))
    if not folders and (labels is None or path.name == "scores"):
        folders = [path]
    # One folder per metric. Files of earlier versions, one per metric, count only if there are no folders.
    return {folder: _find_files(folder) for folder in folders}


def _find_files(folder: Path) -> list[Path]:
    metrics = [path for path in sorted(folder.glob("*")) if path.is_dir()]
    for metric in metrics:
        replacement.settle(metric)
    own = sorted(path for metric in metrics for path in metric.glob("*.parquet") if not metric.name.startswith("."))
    return own or sorted(folder.glob("*.parquet"))


def _read_workspace(
    folder: Path, paths: Sequence[Path]
) -> tuple[list[Score], set[tuple[str, str]], dict[str, dict[str, float]]]:
    """The scores in a folder written by zoo, the sources left out with the target that they have seen, their sizes."""
    root = folder.parent
    if not (root / config.FILE).exists() and root.parent.name == config.LABELS:
        root = root.parent.parent  # the scores of a label set
    settings = config.load(root)
    if root != folder.parent:
        settings = settings.with_labels(folder.parent.name)
    target = settings.task.name if (root / config.FILE).exists() and folder.name == "scores" else ""
    scores = score_tables.read_score_files(paths, target)
    seen = leakage.excluded_sources(settings, list(dict.fromkeys(s.source for s in scores))) if target else {}
    if seen:
        console.say(f"{target}: left out {', '.join(f'{name} ({reason})' for name, reason in seen.items())}")
    names = list(dict.fromkeys(score.source for score in scores))
    sizes = ranking_controls.read_sizes(settings, names) if target else {}
    scores += ranking_controls.read_head_scores(settings, target) if target else []
    left = [score for score in scores if score.source not in seen and score.source in names]
    return left, {(name, target) for name in seen}, sizes
