"""A grid of workspaces with the same small sources: planned, worked off in any order, or made stage by stage."""

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.faults.deadly import DEADLY
from tests.workspaces import MODEL, make, run

ROOT = Path(__file__).parents[2]
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
LENGTH = ("--steps", "12", "--batch-size", "8", "--lr", "0.1", "--augment", "none", "--device", "cpu")
METHODS = (("--lam", "1"), ("--weighting", "p=2"))
SHIM = f"""#!{sys.executable}
import hashlib, os, pathlib, sys
victim = pathlib.Path(__file__).parent / hashlib.sha256("\\0".join(sys.argv[1:]).encode()).hexdigest()
if victim.exists():
    calls = int(victim.read_text())
    victim.unlink()
    exec({DEADLY!r}.replace("{{calls}}", str(calls)))
from zoo_cli.__main__ import main
sys.exit(main())
"""
"""A zoo that is killed once, at a step that changes the disk, if a file beside it is named by its arguments."""


def make_grid(folder: Path, tasks: int, sources: int) -> list[Path]:
    """Workspaces with labels of their own and one list of sources, the first of which has seen the last task."""
    workspaces = []
    for number in range(tasks):
        name = "shapes" if number == tasks - 1 else f"task-{number}"
        place = make(folder / f"task {number}", name=name, seed=number)
        text = (place / "zoo.toml").read_text(encoding="utf-8")
        for position, source in enumerate(NAMES[3:sources]):
            text += f'\n\n[[source]]\nname = "{source}"{MODEL.format(width=4 + position, classes=3)}'
        (place / "zoo.toml").write_text(text, encoding="utf-8")
        workspaces.append(place)
    return workspaces


def plan_flags(workspaces: Sequence[Path], seeds: int) -> list[str]:
    """The arguments of `zoo plan` and `zoo status` for the grid."""
    stages = ["split", "extract", "score", "pseudo-label", *(" ".join(["distill", *m, *LENGTH]) for m in METHODS)]
    flags = [word for stage in stages for word in ("--stage", stage)]
    return [*map(str, workspaces), *flags, *(word for seed in range(seeds) for word in ("--seed", str(seed)))]


def make_by_hand(workspaces: Sequence[Path], seeds: int) -> None:
    """Every stage of every workspace, one after another."""
    each_seed = [word for seed in range(seeds) for word in ("--seed", str(seed))]
    for workspace in workspaces:
        stages = [("split",), ("extract",), ("score", "--metric", "parc"), ("pseudo-label",)]
        for command in (*stages, *(("distill", *method, *LENGTH, *each_seed) for method in METHODS)):
            result = run(*command, workspace=workspace)
            assert result.code == 0, result.err


def digests(workspace: Path) -> dict[str, str]:
    """The files of a workspace, without those that hold times, leases and what Python keeps of modules."""
    return {
        path.relative_to(workspace).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(workspace.rglob("*"))
        if path.is_file()
        and "__pycache__" not in path.parts
        and not path.name.endswith((".log.json", ".tmp"))
        and not path.name.startswith(".lease-")
    }


def is_done(unit: dict[str, str], workspace: Path, made: dict[str, str], by_hand: dict[str, str]) -> bool:
    """Whether all files of a unit are in `made` with the bytes that they have by hand."""
    path = Path(unit["path"]).relative_to(workspace).as_posix()
    names = [name for name in by_hand if name == path or name.startswith(f"{path}/")]
    if unit["stage"].startswith("score"):
        names.append(f"{path.rpartition('/')[0]}/@student.parquet")
    if unit["stage"] == "pseudo-label" and "--source" in unit["command"]:
        names = [name for name in names if "source=alpha" not in name]  # it has seen the task
    assert names, unit
    return all(made.get(name) == by_hand[name] for name in names)


def work_off(commands: Sequence[str], shims: Path, victims: dict[str, int]) -> int:
    """Run command lines by `xargs -P4`; its exit code. `victims`: those that are killed once, and at which step."""
    shims.mkdir(exist_ok=True)
    (shims / "zoo").write_text(SHIM, encoding="utf-8")
    (shims / "zoo").chmod(0o755)
    for command, step in victims.items():
        name = hashlib.sha256("\0".join(shlex.split(command)[1:]).encode()).hexdigest()
        (shims / name).write_text(str(step), encoding="utf-8")
    environment = {"PATH": f"{shims}:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    xargs = ["xargs", "-0", "-P4", "-I{}", "sh", "-c", "{} || exit 1"]
    text = "".join(f"{command}\0" for command in commands)
    return subprocess.run(xargs, input=text, text=True, env=environment, capture_output=True, timeout=900).returncode
