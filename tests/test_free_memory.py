"""Free memory: what the kernel calls available, within the limits of the cgroups around the process."""

from pathlib import Path

import pytest
import torch

from zoo_cli.free_memory import cpu_quota, free_gpu_memory, free_ram, ram_limit

GB = 10**9
AVAILABLE = 32 * 10**6 * 1024


class Machine:
    """Planted files of /proc and /sys/fs/cgroup."""

    def __init__(self, folder: Path):
        self.proc, self.cgroups = folder / "proc", folder / "cgroup"
        (self.proc / "self").mkdir(parents=True)
        self.cgroups.mkdir()
        text = "MemTotal: 64000000 kB\nMemFree: 1000000 kB\nMemAvailable: 32000000 kB\nHugePages_Total: 0\n"
        (self.proc / "meminfo").write_text(text)

    def join(self, *lines: str) -> None:
        (self.proc / "self/cgroup").write_text("".join(f"{line}\n" for line in lines))

    def limit_v2(self, group: str, limit: int | str, used: int, inactive: int = 0) -> None:
        self._write(
            self.cgroups / group,
            {"memory.max": limit, "memory.current": used, "memory.stat": f"anon 5\ninactive_file {inactive}"},
        )

    def limit_v1(self, group: str, limit: int, used: int, inactive: int = 0) -> None:
        stat = f"inactive_file 1\ntotal_inactive_file {inactive}"
        self._write(
            self.cgroups / "memory" / group,
            {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": used, "memory.stat": stat},
        )

    def _write(self, folder: Path, values: dict[str, int | str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name).write_text(f"{value}\n")

    @property
    def free(self) -> int:
        return free_ram(self.proc, self.cgroups)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_page_cache_is_available(machine: Machine) -> None:
    assert machine.free == AVAILABLE
    machine.join("0::/")
    assert machine.free == AVAILABLE


def test_unified_limit_counts_what_cannot_be_reclaimed(machine: Machine) -> None:
    machine.join("0::/job/step")
    machine.limit_v2("job/step", 10 * GB, used=6 * GB, inactive=2 * GB)
    assert machine.free == 6 * GB


def test_limit_of_an_outer_group_holds(machine: Machine) -> None:
    machine.join("0::/job/step")
    machine.limit_v2("job/step", "max", used=GB)
    machine.limit_v2("job", 4 * GB, used=GB)
    assert machine.free == 3 * GB


def test_container_without_the_hosts_path_is_limited(machine: Machine) -> None:
    machine.join("0::/kubepods/pod1/abc")
    machine.limit_v2("", 8 * GB, used=GB)
    assert machine.free == 7 * GB


def test_limit_of_version_1_holds(machine: Machine) -> None:
    machine.join("5:cpu,cpuacct:/job", "4:memory:/job", "0::/")
    machine.limit_v1("", 2**63 - 4096, used=50 * GB)
    machine.limit_v1("job", 5 * GB, used=3 * GB, inactive=GB)
    assert machine.free == 3 * GB


def test_roomy_limit_leaves_what_is_available(machine: Machine) -> None:
    machine.join("0::/job")
    machine.limit_v2("job", 900 * GB, used=GB)
    assert machine.free == AVAILABLE


def test_group_above_its_limit_has_nothing(machine: Machine) -> None:
    machine.join("0::/job")
    machine.limit_v2("job", GB, used=2 * GB)
    assert machine.free == 0


def test_this_machine_has_memory() -> None:
    assert free_ram() > 0


def test_cached_blocks_of_torch_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "mem_get_info": (3 * GB, 80 * GB),
        "memory_reserved": 9 * GB,
        "memory_allocated": 2 * GB,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda _device, value=value: value)
    assert free_gpu_memory(torch.device("cuda")) == 10 * GB


def test_limits_of_cgroups_are_read(machine: Machine) -> None:
    assert (ram_limit(machine.proc, machine.cgroups), cpu_quota(machine.proc, machine.cgroups)) == (None, None)
    machine.join("0::/job/step")
    machine.limit_v2("job", 8 * GB, GB)
    machine.limit_v2("job/step", "max", GB)
    (machine.cgroups / "job/cpu.max").write_text("250000 100000\n")
    (machine.cgroups / "job/step/cpu.max").write_text("max 100000\n")
    assert ram_limit(machine.proc, machine.cgroups) == 8 * GB
    assert cpu_quota(machine.proc, machine.cgroups) == 2.5


def test_limits_of_version_1_are_read(machine: Machine) -> None:
    machine.join("5:memory:/job", "4:cpu,cpuacct:/job", "1:name=systemd:/")
    machine.limit_v1("", 2**63 - 4096, GB)
    machine.limit_v1("job", 6 * GB, GB)
    for group, quota in (("", -1), ("job", 50000)):
        folder = machine.cgroups / "cpu" / group
        folder.mkdir(exist_ok=True)
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text("100000\n")
    assert ram_limit(machine.proc, machine.cgroups) == 6 * GB
    assert cpu_quota(machine.proc, machine.cgroups) == 0.5
