"""A run that replaces another one: made beside it, and moved into its place file by file once it is finished.

The SHA256SUMS of the old run goes first and that of the new one comes last, so that a run is whole or not finished at
every moment. What a user has put into the folder stays.
"""

import os
import shutil
from pathlib import Path

from zoo_cli.store.checksums import DOMAINS, PREDICTIONS, RECORD, RUN_FILES, SUMS, is_finished
from zoo_cli.store.commits import is_leftover, sync, write_error
from zoo_cli.store.lease import staging

PARTS = ("state", "teachers", "sweep", DOMAINS)
"""The folders inside a run: checkpoints, the runs that lead to this one, and the domains of an expert."""
OWN = (RECORD, *PARTS, *(name for name in RUN_FILES if name != PREDICTIONS), PREDICTIONS, SUMS)
"""What a run consists of, in the order in which it is moved."""


def run_place(path: Path) -> Path:
    """The folder of the finished run of which `path` is the folder or, as `staging` names it, the one beside it."""
    is_staging = path.name.startswith(".") and path.name.endswith(".new")
    return path.with_name(path.name[1 : -len(".new")]) if is_staging else path


def replace_run(new: Path, place: Path) -> None:
    """Move a finished run into its place. Interrupted, `finish_swap` goes on."""
    try:
        (place / SUMS).unlink(missing_ok=True)
        sync(place, os.O_RDONLY)
        for name in OWN:
            if name == SUMS:
                _remove_others(new, place)
            if (new / name).exists():
                if (place / name).is_dir():
                    shutil.rmtree(place / name)
                os.replace(new / name, place / name)
                sync(place, os.O_RDONLY)
        clear(new)
    except OSError as error:
        raise write_error(place, error) from None


def finish_swap(place: Path) -> bool:
    """Go on with an interrupted `replace_run`; whether there was one."""
    new = staging(place)
    if (new / SUMS).exists() and not is_finished(place):
        replace_run(new, place)
        return True
    if is_finished(place) and new.exists() and not (new / RECORD).exists():
        clear(new)  # it was moved, and the process ended before it removed the empty folder
    return False


def clear(folder: Path) -> None:
    """Remove what a run consists of, first of all what says that it is finished."""
    try:
        for name in reversed(OWN):
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
        if run_place(folder) != folder:
            for path in folder.iterdir() if folder.exists() else ():
                if is_leftover(path):
                    path.unlink(missing_ok=True)
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
    except OSError as error:
        raise write_error(folder, error) from None


def _remove_others(new: Path, place: Path) -> None:
    """Remove what the old run has and the new one has not, such as sweep.json."""
    listed = (new / SUMS).read_text(encoding="utf-8")
    for name in OWN[:-1]:
        if f"  {name}\n" in listed or f"  {name}/" in listed:
            continue
        if (place / name).is_dir():
            shutil.rmtree(place / name)
        else:
            (place / name).unlink(missing_ok=True)
