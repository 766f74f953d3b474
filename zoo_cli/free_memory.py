"""How much memory is free: on a GPU, and of the RAM that this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def free_gpu_memory(device: Any) -> int:
    """The bytes that a torch.device can still allocate: free on the card, or cached by torch and in no use."""
    import torch

    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + cached)


def free_ram(proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The bytes of RAM that can be used without swapping, the page cache among them, within the limits of cgroups.

    A batch system or a container limits a job by the cgroup of its processes, far below what the machine has.
    """
    return max(0, min([_available(proc / "meminfo"), *_below_limits(proc / "self/cgroup", cgroups)]))


def ram_limit(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """The lowest limit of memory, in bytes, of the cgroups around this process; None without one."""
    limits = []
    for folder, version in _group_folders(proc / "self/cgroup", cgroups, "memory"):
        text = _read_word(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        # Version 1 has no word for no limit, but a number beyond all memory.
        limits += [int(text)] if text.isdigit() and int(text) < 2**60 else []
    return min(limits, default=None)


def cpu_quota(proc: Path = PROC, cgroups: Path = CGROUPS) -> float | None:
    """The lowest number of cores that the cgroups around this process allow; None without a limit."""
    quotas = []
    for folder, version in _group_folders(proc / "self/cgroup", cgroups, "cpu"):
        if version == 2:
            words = _read_text(folder / "cpu.max").split()
        else:
            words = [_read_word(folder / "cpu.cfs_quota_us"), _read_word(folder / "cpu.cfs_period_us")]
        if len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words):
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _group_folders(membership: Path, cgroups: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """The folders of the cgroups around this process that may limit a controller, each with the version, 1 or 2."""
    for line in _read_text(membership).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, version = cgroups, 2
        elif controller in controllers.split(","):
            root, version = cgroups / controller, 1
        else:
            continue
        # In a container the path is often that of the host: the container's own limits are then those of the root.
        for folder in (PurePosixPath(path.lstrip("/")), *PurePosixPath(path.lstrip("/")).parents):
            yield root / folder, version


def _read_text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # no such group or controller here, or it may not be read
        return ""


def _read_word(path: Path) -> str:
    return _read_text(path).partition(" ")[0]


def _available(meminfo: Path) -> int:
    if not meminfo.exists():  # macOS
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _read_table(meminfo)["MemAvailable:"] * 1024


def _below_limits(membership: Path, cgroups: Path) -> Iterator[int]:
    """What is left below the limit of each cgroup around this process that has one."""
    for folder, version in _group_folders(membership, cgroups, "memory"):
        if version == 2:
            yield from _left(folder, "memory.max", "memory.current", "inactive_file")
        else:
            yield from _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    try:
        text = (folder / limit).read_text().strip()
        if text == "max":
            return
        used = int((folder / usage).read_text())
        yield int(text) - used + _read_table(folder / "memory.stat").get(reclaimable, 0)
    except OSError:  # no such group or controller here, or it may not be read
        return


def _read_table(path: Path) -> dict[str, int]:
    """The lines "NAME NUMBER [UNIT]" of a file of the kernel."""
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
