"""Whether a card gives what the CPU gives."""

import importlib.util
import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.gpu.finding import Finding, Setting
from tests.pipeline import head_answers
from tests.pipeline.test_objectives_resume import COMMANDS, LENGTH
from tests.pipeline.transfer_workspace import make
from tests.shared_material import SHARED
from tests.workspaces import run
from zoo_cli.images.augmentation import KINDS

TASK = """[task]
name = "cifar10"
train = "parquet:{data}/cifar10-train.parquet"
test = "parquet:{data}/cifar10-test.parquet"
labelled = "20/class"

[student]
model = "torchvision:mobilenet_v3_small"
input_size = 64
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
SOURCE = """
[[source]]
name = "{name}"
model = "python:{weights}/models.py:build"
args = {{ card = "{weights}/{name}.json" }}
weights = "{weights}/{name}.safetensors"
input_size = {size}
mean = {mean}
std = {std}
"""


def environment(setting: Setting) -> Iterator[Finding]:
    """Versions, the card, and what it offers."""
    finding: Finding = {"python": sys.version.split()[0], "torch": torch.__version__, "cuda": torch.version.cuda}
    if setting.is_card:
        properties = torch.cuda.get_device_properties(setting.device)
        finding |= {
            "card": properties.name,
            "capability": [properties.major, properties.minor],
            "memory": torch.cuda.mem_get_info(setting.device),
            "cudnn": torch.backends.cudnn.version(),
        }
    yield finding


def kernel(setting: Setting) -> Iterator[Finding]:
    """The Triton kernel against the slices, and its memory accesses under compute-sanitizer."""
    if importlib.util.find_spec("triton") is None:
        yield {"what": "kernel", "skipped": "triton is not installed"}
        return
    if not setting.is_card:
        yield {"what": "kernel", "skipped": "a CPU interprets it in tests/training/test_segmented.py"}
        return
    check = ("-m", "tests.training.kernel_check", "cuda")
    yield {"what": "kernel", **setting.run_python(*check, most=120)}
    sanitizer = shutil.which("compute-sanitizer") or shutil.which("/usr/local/cuda/bin/compute-sanitizer")
    if sanitizer is None:
        yield {"what": "memcheck", "skipped": "compute-sanitizer is not installed"}
    else:
        yield {"what": "memcheck", **setting.run_python(*check, most=120, prefix=(sanitizer, "--tool", "memcheck"))}


def commands(setting: Setting) -> Iterator[Finding]:
    """Every training command beside the CPU's: the largest difference of a weight."""
    with (
        tempfile.TemporaryDirectory() as folder,
        head_answers.workspace_with_answers(Path(folder) / "task") as workspace,
    ):
        for name, command in list(COMMANDS.items())[: 3 if setting.small else None]:
            weights, seconds, failure = {}, {}, ""
            for device in ("cpu", str(setting.device)):
                shutil.rmtree(workspace / "runs", ignore_errors=True)
                start = time.monotonic()
                result = run(*command, *LENGTH, "--device", device, workspace=workspace)
                seconds[device] = round(time.monotonic() - start, 2)
                if result.code:
                    failure = f"exit {result.code} on {device}: {result.err[-600:]}"
                    break
                weights[device] = load_file(workspace / "runs" / "mine" / "model.safetensors")
            if failure:
                yield {"command": name, "error": failure}
                continue
            expected, trained = weights["cpu"], weights[str(setting.device)]
            differences = [float((expected[key].double() - trained[key].double()).abs().max()) for key in expected]
            yield {"command": name, "differs by": max(differences), "seconds": seconds}
        for flags in ((), ("--precision", "bf16")):
            result = run(
                "extract", "--overwrite", "--gradients", "--device", str(setting.device), *flags, workspace=workspace
            )
            yield {"command": f"extract {' '.join(flags)}".strip(), "code": result.code, "err": _error(result.err)}


def readme_commands(setting: Setting) -> Iterator[Finding]:
    """extract, rank and distill on real images if they are at hand, else on those of the tests."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "task"
        cards = [] if SHARED is None else sorted((SHARED / "weights").glob("imagenet*.json"))
        if cards and SHARED is not None and (SHARED / "data" / "cifar10-train.parquet").exists():
            workspace.mkdir()
            (workspace / "zoo.toml").write_text(_format_toml(SHARED, cards[: 1 if setting.small else None]), "utf-8")
        else:
            make(workspace)
        steps = ("--steps", "5" if setting.small else "200")
        on_device = ("--device", str(setting.device))
        for command in (
            ("extract", *on_device),
            ("rank", "--metric", "parc"),
            ("distill", "--weighting", "p=2", *steps, *on_device),
            ("evaluate", "accuracy"),
        ):
            start = time.monotonic()
            result = run(*command, workspace=workspace)
            seconds = round(time.monotonic() - start, 1)
            finding: Finding = {"command": " ".join(command), "code": result.code, "seconds": seconds}
            yield {**finding, "err": _error(result.err), "out": result.out[-400:] if command[0] == "evaluate" else ""}


def waits(setting: Setting) -> Iterator[Finding]:
    """Which lines wait for the card in training, by augmentation, apart from log rows and checkpoints."""
    if not setting.is_card:
        yield {"skipped": "torch reports waits on a card only; tests/rehearsal counts them without one"}
        return
    with tempfile.TemporaryDirectory() as folder:
        workspace = make(Path(folder) / "task")
        for kind in KINDS:
            shutil.rmtree(workspace / "runs", ignore_errors=True)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    command = (*COMMANDS["fixmatch"], *LENGTH, "--augment", kind, "--device", str(setting.device))
                    code = run(*command, workspace=workspace).code
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            lines = sorted({f"{Path(w.filename).name}:{w.lineno}" for w in caught if "synchronizing" in str(w.message)})
            yield {"augment": kind, "code": code, "lines": lines}


def gpu_tests(setting: Setting) -> Iterator[Finding]:
    """The tests that need a card."""
    each = ("--timeout", "120") if importlib.util.find_spec("pytest_timeout") else ()
    workers = ("-n0",) if importlib.util.find_spec("xdist") else ("-o", "addopts=")
    command = ("-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider", *workers, *each, "--ignore", "tests/bench")
    paths = ("tests/training", "tests/objectives", "tests/models", "tests/data") if setting.small else ()
    yield setting.run_python(*command, *paths, most=240)


def _error(text: str) -> str:
    return next((line for line in text.splitlines() if line.startswith("zoo: error: ")), "")


def _format_toml(shared: Path, cards: Sequence[Path]) -> str:
    text = TASK.format(data=shared / "data")
    for path in cards:
        card = json.loads(path.read_text(encoding="utf-8"))
        size, mean, std = (card[key] for key in ("input_size", "mean", "std"))
        text += SOURCE.format(name=path.stem, weights=shared / "weights", size=size, mean=mean, std=std)
    return text
