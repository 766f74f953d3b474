"""The checks of runs: every file against its digest, and what a run that is not finished holds."""

import shlex
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from zoo_cli.errors import ContractError
from zoo_cli.pipeline.verify_checks import (
    Check,
    Known,
    Reported,
    join_command,
    list_digests,
    read_outputs,
    report_missing,
    try_to_read,
)
from zoo_cli.store import checksums, class_names, export_files, files, lease, provenance, schemas
from zoo_cli.store.checksums import DOMAINS, MEANS, PREDICTIONS, RECORD, RUN_FILES, SUMS
from zoo_cli.store.model_folders import find_folder
from zoo_cli.store.swap import run_place
from zoo_cli.training import checkpoint_record, run_record

RUNS = "runs"


def list_runs(known: Known) -> Iterator[Check]:
    """The checks of all runs in the folder of runs, and of the experts that are sources from elsewhere."""
    runs = known.settings.root / RUNS
    folders = sorted(path for path in runs.glob("*") if path.is_dir())
    folders += [folder for folder in _expert_folders(known) if folder.parent.resolve() != runs.resolve()]
    unchecked = []
    for folder in folders:
        if not any((folder / name).exists() for name in (RECORD, SUMS, *RUN_FILES)):
            continue
        command = run_command(folder)
        has_sums = (folder / SUMS).exists() and run_place(folder) == folder
        if not has_sums and (run_place(folder) != folder or not checksums.is_finished(folder)):
            yield from _list_unfinished(folder, command)
            continue
        if has_sums:
            present = [path for name in (RECORD, *RUN_FILES) if (path := folder / name).exists()]
            yield from list_digests(folder, present, command)
        else:
            unchecked.append(folder)
        yield from _list_contents(folder, command)
        yield from _list_exports(folder)
    if unchecked:
        yield Check(unchecked[0], partial(_report_unchecked, unchecked))


def _expert_folders(known: Known) -> list[Path]:
    """The folders of zoo expert that sources of the workspace name, each once."""
    root = known.settings.root
    folders = {folder for source in known.settings.models if (folder := find_folder(source.model, root)) is not None}
    return sorted(folder for folder in folders if _is_expert(folder))


def _is_expert(folder: Path) -> bool:
    sums = try_to_read(partial(checksums.read_sums, folder)) if (folder / SUMS).is_file() else None
    return any(name.rpartition("/")[2] == MEANS for name in sums or ())


def run_command(folder: Path) -> str:
    """The command that makes a run again, as its log names it; empty for one that was made without a command."""
    log = run_record.log_file(run_place(folder))
    content = try_to_read(partial(files.read_json, log)) if log.is_file() else None
    command = content.get("command") if isinstance(content, dict) else None
    if not isinstance(command, str):
        return ""
    return command if "--overwrite" in shlex.split(command) else f"{command} --overwrite"


def _list_contents(folder: Path, command: str) -> Iterator[Check]:
    """The files that commands read, by their own readers."""
    readers: dict[str, Callable[[Path], object]] = {
        RECORD: run_record.read_record,
        "config.json": class_names.load_student_classes,
        "metrics.jsonl": lambda _: run_record.load_result(folder),
        PREDICTIONS: partial(_read_predictions, folder),
    }
    domains = sorted(folder.glob(f"{DOMAINS}/*/{PREDICTIONS}"))
    if domains:
        del readers[PREDICTIONS]
    for path in domains:
        yield Check(path, partial(read_outputs, path, schemas.PREDICTIONS, ("logits",)), command)
    for name, read in readers.items():
        yield Check(folder / name, partial(read, folder / name), command)
    if not (folder / SUMS).exists() and not (folder / "model.safetensors").exists():
        yield Check(folder / "model.safetensors", partial(report_missing, folder / "model.safetensors"), command)


def _list_exports(folder: Path) -> Iterator[Check]:
    """The exported models in the folder of a run: their digests, and that they are of the student beside them."""
    for path in export_files.list_exports(folder):
        record = try_to_read(partial(export_files.load_export_record, path))
        inputs = {} if record is None else record.inputs
        words = ["export", folder.name, "--format", path.suffix.removeprefix(".")]
        words += ["--with-preprocessing"] if inputs.get("preprocessing") == "inside" else []
        words += ["--quantize", str(inputs["quantize"])] if inputs.get("quantize") else []
        command = join_command(*words, "--out", str(path), "--overwrite")
        yield Check(path, partial(_read_export, folder, path), command if record is not None else "")


def _read_export(folder: Path, path: Path) -> None:
    record = export_files.load_checked_record(path)
    student = export_files.model_digests(folder)
    changed = provenance.differences({key: record.inputs.get(key) for key in student}, student)
    if changed:
        raise provenance.stale_error(str(path), changed)


def _read_predictions(folder: Path, path: Path) -> None:
    outputs = read_outputs(path, schemas.PREDICTIONS, ("logits",))
    classes = try_to_read(partial(class_names.load_student_classes, folder / "config.json"))
    if classes and outputs.logits is not None and len(outputs.ids) and outputs.logits.shape[1] != len(classes):
        raise ContractError(f"{path} has {outputs.logits.shape[1]} classes, config.json {len(classes)}")


def _list_unfinished(folder: Path, command: str) -> Iterator[Check]:
    """What is there of a run that is not finished, and last that it is not: its own command goes on with it."""
    again = command.removesuffix(" --overwrite") if run_place(folder) == folder else command
    if (folder / RECORD).exists():
        yield Check(folder / RECORD, partial(run_record.read_record, folder / RECORD), command)
    if (folder / checkpoint_record.POINTER).exists():
        yield Check(folder / "state", partial(checkpoint_record.load_checkpoint, folder), command)
    yield Check(folder, partial(_report_unfinished, folder), again)


def _report_unfinished(folder: Path) -> None:
    holder = lease.describe_holder(run_place(folder))
    if holder:
        raise Reported("unfinished", f"{folder} is being made by {holder}")
    raise Reported("unfinished", f"{folder} is not finished")


def _report_unchecked(folders: list[Path]) -> None:
    names = ", ".join(folder.name for folder in folders[:3]) + (" …" if len(folders) > 3 else "")
    raise Reported("unchecked", f"{len(folders):,} runs have no {SUMS}, as those of earlier versions: {names}")
