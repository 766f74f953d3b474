"""`zoo verify`: every artifact of a workspace, read as its readers read it, one file at a time. Nothing is written."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from zoo_cli import config
from zoo_cli.config import Config
from zoo_cli.errors import ContractError, UsageError, ZooError
from zoo_cli.images.decoding import BadImage
from zoo_cli.label_sets import list_label_sets
from zoo_cli.pipeline.split import is_manifest_current
from zoo_cli.pipeline.verify_answers import list_answers
from zoo_cli.pipeline.verify_checks import Check, Known, Reported, State, join_command, report_missing, try_to_read
from zoo_cli.pipeline.verify_runs import list_runs
from zoo_cli.pipeline.verify_sources import list_sources
from zoo_cli.progress import Progress
from zoo_cli.store import class_names, failures, parquet_files, schemas, split_notes
from zoo_cli.store.manifest import check_embedded, load_manifest
from zoo_cli.store.provenance import Stale

FOLDERS = ("features", "gradients", "scores", "pseudo", "heads", "predictions", "errors", "runs", "sources", "labels")
"""The folders of a workspace in which zoo writes."""
TEMPORARY = (".*.tmp", ".lease-*")


@dataclass(frozen=True)
class Finding:
    """What is wrong with an artifact, or to be known of it; the command that makes it again, empty without one."""

    state: State
    path: Path
    problem: str
    command: str = ""


@dataclass(frozen=True)
class Verification:
    """What was checked: the number of files, and the findings."""

    files: int
    findings: tuple[Finding, ...]

    @property
    def damaged(self) -> int:
        """The number of findings that are damage."""
        return sum(finding.state == "damaged" for finding in self.findings)


def verify(workspace: Path) -> Verification:
    """Check all artifacts of a workspace; a fault does not stop it. Images of the task are checked where they are read.

    Raises UsageError for a folder without zoo.toml and artifacts.
    """
    settings = config.load(workspace)
    if not any((workspace / name).exists() for name in (config.FILE, settings.manifest.name, *FOLDERS)):
        raise UsageError(f"no workspace at {workspace}", f"it has no {config.FILE}, and nothing that zoo writes")
    findings: list[Finding] = []
    damaged: set[Path] = set()
    checked: set[Path] = set()
    checks = list(_list_checks(settings))
    with Progress("verify", len(checks), "checks") as progress:
        for check in checks:
            finding = None if check.path in damaged else _run_check(check)
            if finding is not None:
                findings.append(finding)
                damaged |= {check.path} if finding.state == "damaged" else set()
            if not check.path.is_dir():
                checked.add(check.path)
            progress.advance(1)
    findings += _list_leftovers(workspace)
    return Verification(len(checked), tuple(dict.fromkeys(findings)))


def _run_check(check: Check) -> Finding | None:
    try:
        check.read()
    except Reported as report:
        return Finding(report.state, check.path, report.problem, check.command)
    except Stale as stale:
        return Finding("stale", check.path, stale.message, check.command)
    except (ZooError, BadImage) as error:
        return Finding("damaged", check.path, getattr(error, "message", str(error)), check.command)
    return None


def _list_checks(settings: Config) -> Iterator[Check]:
    """The checks of a workspace, inputs first."""
    has_manifest = settings.manifest.exists()
    images = try_to_read(partial(load_manifest, settings.manifest, settings.root)) if has_manifest else None
    names = try_to_read(partial(class_names.load_class_names, settings.classes))
    failed = try_to_read(partial(failures.failed_ids, settings, "extract"))
    known = Known(settings, images, failed, None if names is None else len(names))
    yield from _list_split(known)
    if settings.errors("extract").exists():
        path = settings.errors("extract")
        yield Check(path, partial(_read_failures, settings, "extract"), join_command("extract", "--overwrite"))
    yield from list_sources(known)
    yield from list_answers(known)
    for labels in list_label_sets(settings.root):
        yield from _list_label_set(known, labels)
    yield from list_runs(known)


def _list_label_set(known: Known, labels: str) -> Iterator[Check]:
    """The checks of a label set: its manifest, and what is made from its labels."""
    settings = known.settings.with_labels(labels)
    images = try_to_read(partial(load_manifest, settings.manifest, settings.root))
    own = replace(known, settings=settings, images=images)
    command = join_command("split", "--labels", labels, "--overwrite")
    yield Check(settings.manifest, partial(_read_manifest, own), command)
    for check in list_answers(own):
        yield replace(check, command=f"{check.command} {shlex.join(['--labels', labels])}" if check.command else "")


def _list_split(known: Known) -> Iterator[Check]:
    settings = known.settings
    command = _split_command(settings)
    if settings.manifest.exists():
        yield Check(settings.manifest, partial(_read_manifest, known), command)
    elif any((settings.root / "features").glob("source=*/data=*/part-*.parquet")):
        yield Check(settings.manifest, partial(parquet_files.read_header, settings.manifest), command)
    elif not settings.classes.exists():
        return
    else:
        yield Check(settings.manifest, partial(report_missing, settings.manifest, was_there=False), command)
        return
    yield Check(settings.classes, partial(class_names.load_class_names, settings.classes), command)
    yield Check(settings.errors("split"), partial(_read_failures, settings, "split"), command)
    if split_notes.notes_file(settings).exists():
        yield Check(split_notes.notes_file(settings), partial(split_notes.load_notes, settings), command)


def _split_command(settings: Config) -> str:
    """The command that makes the manifest again, with the flags with which it was made as far as it names them."""
    header = try_to_read(partial(parquet_files.read_header, settings.manifest)) or {}
    made_from = header.get("inputs", {})
    words = ["split"]
    for key in made_from.get("flags", ()):
        flag, value = f"--{key.replace('_', '-')}", made_from.get(key)
        if key == "test" and not value:
            value = [f"{100 * float(made_from.get('test_fraction', 0)):.12g}%"]
        if value is True:
            words.append(flag)
        elif value is not None:
            words += [word for item in (value if isinstance(value, list) else [value]) for word in (flag, str(item))]
    if "check" in made_from:
        words += ["--check", str(made_from["check"])]
    return join_command(*words, "--overwrite")


def _read_manifest(known: Known) -> None:
    settings = known.settings
    images = load_manifest(settings.manifest, settings.root)
    columns = [column.name for column in schemas.MANIFEST.columns if column.name != "image"]
    present = parquet_files.column_types(settings.manifest)
    parquet_files.read_table(settings.manifest, schemas.MANIFEST, [name for name in columns if name in present])
    highest = int(max(images.labels.max(initial=-1), images.truth().max(initial=-1)))
    if known.classes is not None and highest >= known.classes:
        raise ContractError(f"{settings.manifest}: label {highest} is outside the {known.classes} classes")
    check_embedded(images)
    if settings.labels is None:
        is_manifest_current(settings)


def _read_failures(settings: Config, stage: str) -> None:
    path = settings.errors(stage)
    if stage == "split":
        class_names.check_beside(settings.manifest, path)
    failures.load_failures(settings, stage)


def _list_leftovers(workspace: Path) -> Iterator[Finding]:
    """Temporary files of processes that have ended, or that are at work."""
    places = [(workspace, "glob"), *((workspace / name, "rglob") for name in FOLDERS)]
    for folder, method in places:
        for pattern in TEMPORARY:
            for path in sorted(getattr(folder, method)(pattern)):
                yield Finding("leftover", path, f"{path} is a temporary file of a process that ended, or is at work")


def with_workspace(command: str, workspace: Path) -> str:
    """A command of zoo that runs in a workspace from the current folder."""
    if not command.startswith("zoo ") or workspace.resolve() == Path.cwd():
        return command
    return f"{command} -C {shlex.quote(str(workspace))}"
