"""Which libraries load when: ranking and scoring wait for no torch, and a model for no library but its own."""

import subprocess
import sys

import pytest

from zoo_cli import registry

LIBRARIES = {"torch", "torchvision", "timm"}


def loaded_by(*modules: str) -> set[str]:
    """The libraries that importing these modules loads, in a fresh interpreter."""
    script = "\n".join(f"import {name}" for name in modules) + "\nimport sys; print(*sys.modules)"
    process = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return LIBRARIES & set(process.stdout.split())


def test_torchvision_and_timm_load_with_their_first_model() -> None:
    names = ("loading", "student", "timm", "python", "file", "features")
    assert loaded_by(*(f"zoo_cli.models.{name}" for name in names)) == {"torch"}
    assert loaded_by("zoo_cli.models.torchvision") == {"torch", "torchvision"}


@pytest.mark.parametrize(
    "module",
    [
        "zoo_cli.images.decoding",
        "zoo_cli.data.splits",
        "zoo_cli.models.features",
        "zoo_cli.store.manifest",
        *(entry.target.partition(":")[0] for entry in registry.DATA.values()),
    ],
)
def test_reading_data_and_stored_features_loads_no_torch(module: str) -> None:
    assert loaded_by(module) == set()
