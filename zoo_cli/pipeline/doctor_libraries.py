"""The checks of `zoo doctor` that ask libraries: torch, torchvision and CUDA, the extras, and the weights in caches."""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from zoo_cli import registry, specs
from zoo_cli.config import Config
from zoo_cli.errors import ZooError
from zoo_cli.pipeline.diagnosis import Diagnosis, State
from zoo_cli.pipeline.doctor_probe import STEPS
from zoo_cli.store import weights_origin
from zoo_cli.store.free_space import describe

PROBE = "zoo_cli.pipeline.doctor_probe"
PATIENCE = 180.0
"""Seconds after which the process that tries the libraries hangs."""
TOLERANCE = 1e-2
"""The largest difference of a card's results from those of the CPU, of numbers up to about 30."""
OLDEST_PYTHON, OLDEST_TORCH = (3, 11), (2, 6)
PAIR = 15
"""torch 2.N belongs to torchvision 0.(N + 15)."""
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "metrics": {"scikit-learn": "1.4"},
    "plot": {"matplotlib": "3.8", "jinja2": "3.1"},
    "timm": {"timm": "1.0.26"},
    "onnx": {"onnx": "1.17", "onnxruntime": "1.20", "onnxscript": "0.3"},
    "transformers": {"transformers": "5"},
    "ray": {"ray": "2.60"},
    "clip": {"open_clip_torch": "3.3"},
}
"""The packages of each extra, with their lowest versions."""
FIND_MISSING = "zoo_cli.models.cached_weights:find_missing"
REINSTALL = "pip install --force-reinstall torch torchvision, both from the same index"

UNCHECKED_CACHES = Diagnosis("caches", "warn", "not looked up, because torch or torchvision fails", REINSTALL)

Steps = Mapping[str, Mapping[str, Any]]


def check_python(_settings: Config) -> Iterator[Diagnosis]:
    """The version of Python."""
    text = f"Python {platform.python_version()}"
    if sys.version_info[:2] < OLDEST_PYTHON:
        yield Diagnosis("python", "fail", text, "install Python 3.11 or later")
    else:
        yield Diagnosis("python", "ok", text)


def check_torch(_settings: Config) -> Iterator[Diagnosis]:
    """torch, torchvision and the cards, tried in another process."""
    steps, end = try_libraries()
    for name in STEPS:
        if name not in steps:
            yield Diagnosis(name, "fail", f"the process that tried it {end}", REINSTALL)
            return
    yield _judge_torch(steps["torch"])
    yield _judge_torchvision(steps["torchvision"], steps["torch"])
    yield from _judge_cards(steps["cuda"], steps["torch"])


def try_libraries() -> tuple[Steps, str]:
    """What each step of `doctor_probe` gave, by its name, and how its process ended."""
    try:
        result = subprocess.run([sys.executable, "-m", PROBE], capture_output=True, text=True, timeout=PATIENCE)
        output, end = result.stdout, f"ended with code {result.returncode}"
        if result.returncode < 0:
            end = f"was ended by signal {-result.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        end = f"hung for {PATIENCE:g} s"
    lines = [json.loads(line) for line in output.splitlines() if line.startswith('{"step": ')]
    return {line["step"]: line for line in lines}, end


def _judge_torch(step: Mapping[str, Any]) -> Diagnosis:
    if "error" in step:
        return Diagnosis("torch", "fail", step["error"], "pip install torch")
    kind = f"for CUDA {step['cuda']}" if step["cuda"] else "for the CPU alone"
    text = f"torch {step['version']} {kind}"
    if _parse_version(step["version"])[:2] < OLDEST_TORCH:
        return Diagnosis("torch", "fail", text, "pip install 'torch>=2.6'")
    return Diagnosis("torch", "ok", text)


def _judge_torchvision(step: Mapping[str, Any], torch_step: Mapping[str, Any]) -> Diagnosis:
    if "error" in step:
        version = torch_step.get("version", "")
        text = f"torchvision does not fit torch {version}: {step['error']}" if version else step["error"]
        return Diagnosis("torchvision", "fail", text, REINSTALL)
    text = f"torchvision {step['version']}"
    major, minor = _parse_version(torch_step.get("version", "0.0"))[:2]
    if major == 2 and _parse_version(step["version"])[:2] != (0, minor + PAIR):
        hint = f"pip install 'torchvision==0.{minor + PAIR}.*' is the one for this torch"
        return Diagnosis("torchvision", "warn", f"{text} works, but is of another torch", hint)
    return Diagnosis("torchvision", "ok", text)


def _judge_cards(step: Mapping[str, Any], torch_step: Mapping[str, Any]) -> Iterator[Diagnosis]:
    driver = "install a driver for this version of CUDA, or torch for an older one"
    if "error" in step:
        yield Diagnosis("cuda", "fail", step["error"], driver)
        return
    if step["warning"]:
        yield Diagnosis("cuda", "fail", step["warning"], driver)
    elif not step["cards"] and torch_step.get("cuda") is None and _has_driver():
        yield Diagnosis("cuda", "warn", "there is a CUDA driver, but torch is for the CPU alone", "pip install torch")
    elif not step["cards"]:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        cause = "" if hidden is None else f": CUDA_VISIBLE_DEVICES is {hidden!r}"
        yield Diagnosis("cuda", "ok", f"there is no CUDA device{cause}; the CPU is used")
    for card in step["cards"]:
        title = f"cuda:{card['number']}, {card['name']}"
        if "error" in card:
            yield Diagnosis("cuda", "fail", f"{title}: {card['error']}", f"{driver}; until then --device cpu")
        elif not card["difference"] <= TOLERANCE:
            text = f"{title}: its results differ from those of the CPU by {card['difference']:.2g}"
            yield Diagnosis("cuda", "fail", text, "do not use this card: --device cpu")
        elif card["free"] < card["total"] / 2:
            text = f"{title}: only {describe(card['free'])} of {describe(card['total'])} are free"
            yield Diagnosis("cuda", "warn", text, "another process uses it: nvidia-smi names it")
        else:
            yield Diagnosis("cuda", "ok", f"{title}: computes, {describe(card['free'])} free")


def _has_driver() -> bool:
    return os.path.exists("/proc/driver/nvidia/version")


def check_extras(settings: Config) -> Iterator[Diagnosis]:
    """The packages of every extra. One that a source of the workspace needs must be there."""
    needed = {specs.provider("model provider", source.model)[0] for source in settings.models}
    for extra, packages in EXTRAS.items():
        versions = {name: _installed_version(name) for name in packages}
        missing = [name for name, version in versions.items() if version is None]
        old = [
            f"{name} {version}, at least {packages[name]} is needed"
            for name, version in versions.items()
            if version is not None and _parse_version(version) < _parse_version(packages[name])
        ]
        if missing or old:
            text = "; ".join([*([f"{', '.join(missing)} not installed"] if missing else []), *old])
            state: State = "fail" if extra in needed else "warn"
            yield Diagnosis(f"extra {extra}", state, text, f'pip install "zoo-cli[{extra}]"')
        else:
            yield Diagnosis(
                f"extra {extra}", "ok", ", ".join(f"{name} {version}" for name, version in versions.items())
            )


def check_caches(settings: Config) -> Iterator[Diagnosis]:
    """Whether the weights that sources name are on this machine, for nodes without a network."""
    missing, unknown, count = [], [], 0
    for source in settings.models:
        if specs.provider("model provider", source.model)[0] not in weights_origin.NAMED:
            continue
        count += 1
        try:
            file = registry.import_target(FIND_MISSING)(source, settings.root)
        except (ZooError, ImportError) as error:
            unknown.append(f"{source.name}: {error}")
            continue
        missing += [f"{source.name} ({file})"] if file is not None else []
    if unknown:
        yield Diagnosis("caches", "warn", "; ".join(unknown), "zoo sources --check says more")
    if missing:
        hint = "zoo sources --check fetches them, on a machine with a network and the same caches"
        yield Diagnosis("caches", "warn", f"not on this machine: {', '.join(missing)}", hint)
    if not unknown and not missing:
        text = (
            f"all sources of torchvision, timm and clip, {count}, load without a network"
            if count
            else "no source fetches weights"
        )
        yield Diagnosis("caches", "ok", text)


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _parse_version(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version: 2.14.1+cu130 is (2, 14, 1)."""
    match = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, match[0].split("."))) if match else (0, 0)
