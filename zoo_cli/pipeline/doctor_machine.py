"""The checks of `zoo doctor` that ask the machine: its disk, memory and cores."""

import errno
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from zoo_cli import free_memory
from zoo_cli.config import Config
from zoo_cli.pipeline.diagnosis import Diagnosis
from zoo_cli.store import commits
from zoo_cli.store.free_space import describe

LITTLE_SPACE, LEAST_SPACE = 5e9, 2e8
LITTLE_INODES = 10_000
LITTLE_RAM, LEAST_RAM = 4e9, 1e9
SLOW_SYNC = 0.2
"""Seconds: a run writes some files, an extraction one a part."""
TRIALS = 3


def check_disk(settings: Config) -> Iterator[Diagnosis]:
    """The space and the inodes that are left where the workspace is, or will be."""
    folder = _nearest_folder(settings.root)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    text = f"{describe(free)} free in {folder}"
    move = "free some space, or move the workspace to a larger disk"
    if not status.f_blocks:
        yield Diagnosis("disk", "ok", f"{folder} does not tell its size")
    elif free < LITTLE_SPACE:
        yield Diagnosis("disk", "fail" if free < LEAST_SPACE else "warn", text, move)
    elif status.f_files and status.f_favail < LITTLE_INODES:
        hint = "remove files, or move the workspace to another disk"
        yield Diagnosis("disk", "warn", f"{text}, but only {status.f_favail:,} inodes", hint)
    else:
        yield Diagnosis("disk", "ok", text)


def check_sync(settings: Config) -> Iterator[Diagnosis]:
    """Write, sync, rename and link a file as the stages do, and how long that takes."""
    folder = _nearest_folder(settings.root)
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor-", suffix=".tmp", dir=folder) as place:
            seconds = statistics.median(_write_file(Path(place)) for _ in range(TRIALS))
            links = _can_link(Path(place))
    except OSError as error:
        text = f"{folder} cannot be written: {error.strerror or error}"
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = "free some space" if is_full else "change its permissions"
        yield Diagnosis("fsync", "fail", text, f"{hint}, or choose another workspace")
        return
    text = f"a file is safe on the disk of {folder} after {1000 * seconds:,.1f} ms"
    if seconds > SLOW_SYNC:
        yield Diagnosis("fsync", "warn", text, "use a local disk for the workspace")
    elif not links:
        hint = "use one process a run: two that start at the same time may both believe to be alone"
        yield Diagnosis("fsync", "warn", f"{text}, but it has no hard links", hint)
    else:
        yield Diagnosis("fsync", "ok", text)


def check_memory(_settings: Config) -> Iterator[Diagnosis]:
    """The memory that this process may still use, within the limits of its cgroups."""
    free, limit = free_memory.free_ram(), free_memory.ram_limit()
    text = f"{describe(free)} free" + (f" of the {describe(limit)} that the cgroup allows" if limit is not None else "")
    hint = "ask the batch system for more memory" if limit is not None else "end other programs"
    if free < LITTLE_RAM:
        yield Diagnosis("memory", "fail" if free < LEAST_RAM else "warn", text, f"{hint}, or use --images stream")
    else:
        yield Diagnosis("memory", "ok", text)


def check_cores(_settings: Config) -> Iterator[Diagnosis]:
    """The cores of this process, against the number of threads that libraries start."""
    cores = os.cpu_count() or 1
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota = free_memory.cpu_quota()
    usable = own if quota is None else min(own, quota)
    limits = [f"{own} of them may be used"] if own < cores else []
    limits += [f"the cgroup allows {quota:g}"] if quota is not None and quota < own else []
    text = "; ".join([f"{cores} cores", *limits])
    threads = os.environ.get("OMP_NUM_THREADS", "")
    started = int(threads) if threads.isdigit() else own
    whole = max(1, int(usable))
    if started > whole:
        hint = f"export OMP_NUM_THREADS={whole} ZOO_WORKERS={whole}"
        yield Diagnosis("cores", "warn", f"{text}, but {started} threads would be started", hint)
    elif own < cores and "ZOO_WORKERS" not in os.environ:
        yield Diagnosis(
            "cores", "warn", f"{text}, but {cores} threads would decode images", f"export ZOO_WORKERS={whole}"
        )
    else:
        yield Diagnosis("cores", "ok", text)


def _nearest_folder(folder: Path) -> Path:
    """The folder, or the nearest one around it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())


def _write_file(folder: Path) -> float:
    """The seconds until a file of a megabyte is on the disk under its name."""
    started = time.monotonic()
    temporary, path = folder / "new", folder / "file"
    temporary.write_bytes(bytes(1_000_000))
    commits.sync(temporary, os.O_RDWR)
    os.replace(temporary, path)
    commits.sync(folder, os.O_RDONLY)
    return time.monotonic() - started


def _can_link(folder: Path) -> bool:
    try:
        os.link(folder / "file", folder / "link")
    except OSError:
        return False
    return True
