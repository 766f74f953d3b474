"""Which libraries load when: ranking and scoring wait for no torch, and a model for no library but its own."""

import subprocess
import sys

from zoo_cli import registry

LIBRARIES = {"torch", "torchvision", "timm"}


def loaded_in_turn(*groups: list[str]) -> list[set[str]]:
    """The libraries that are loaded after importing each group of modules, one after another in one interpreter."""
    lines = [f"import sys, {', '.join(group)}; print(*sys.modules)" for group in groups]
    process = subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, capture_output=True, text=True)
    return [LIBRARIES & set(line.split()) for line in process.stdout.splitlines()]


def test_torchvision_and_timm_load_with_their_first_model() -> None:
    names = ("loading", "student", "timm", "python", "file", "features")
    without, then = loaded_in_turn([f"zoo_cli.models.{name}" for name in names], ["zoo_cli.models.torchvision"])
    assert without == {"torch"}
    assert then == {"torch", "torchvision"}


def test_reading_data_and_stored_features_loads_no_torch() -> None:
    modules = ("images.decoding", "data.splits", "models.features", "store.manifest")
    names = [f"zoo_cli.{name}" for name in modules]
    names += [entry.target.partition(":")[0] for entry in registry.DATA.values()]
    for name, libraries in zip(names, loaded_in_turn(*([name] for name in names)), strict=True):
        assert libraries == set(), name
