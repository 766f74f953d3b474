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


def _available(meminfo: Path) -> int:
    if not meminfo.exists():  # macOS
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return _read_table(meminfo)["MemAvailable:"] * 1024


def _below_limits(membership: Path, cgroups: Path) -> Iterator[int]:
    """What is left below the limit of each cgroup around this process that has one."""
    for line in membership.read_text().splitlines() if membership.exists() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            names, root = ("memory.max", "memory.current", "inactive_file"), cgroups
        elif "memory" in controllers.split(","):
            names, root = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"), cgroups / "memory"
        else:
            continue
        # In a container the path is often that of the host: the container's own limits are then those of the root.
        for folder in (PurePosixPath(path.lstrip("/")), *PurePosixPath(path.lstrip("/")).parents):
            yield from _left(root / folder, *names)


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
