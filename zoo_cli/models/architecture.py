"""What builds a network again without its weights: a provider's spec, and the heads put on it since."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from zoo_cli import registry, specs
from zoo_cli.config import Source
from zoo_cli.errors import ContractError
from zoo_cli.models.capture import OutputHook, Tap
from zoo_cli.models.third_party import seeded


@dataclass(frozen=True)
class HeadSpec:
    """A head put on a network: in the place of the one that `tap` reads, or (`wrap`) behind what `tap` reads.

    `outputs`: classes of the head; 0 leaves it out, so that the network gives the features themselves.
    """

    tap: Tap
    outputs: int
    wrap: bool = False


@dataclass(frozen=True)
class Architecture:
    """A network without weights. `args` and paths are as the user wrote them, relative to the folder `root`.

    `classes`: what the provider's factory is asked for, None its default. `code_sha256`: of a user's own file. `root`
    is empty where there is no path.
    """

    model: str
    args: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None
    code_sha256: str = ""
    edits: tuple[HeadSpec, ...] = ()
    root: str = ""

    def edited(self, edit: HeadSpec) -> "Architecture":
        """The same with one more head; a head that it replaces in turn is forgotten."""
        kept = self.edits
        if kept and not edit.wrap and edit.tap.head == head_name(kept[-1]):
            if kept[-1].wrap:
                edit = replace(kept[-1], outputs=edit.outputs)
            kept = kept[:-1]
        return replace(self, edits=(*kept, edit))

    def to_json(self, folder: Path | None = None) -> dict[str, Any]:
        """As it stands in the config.json of a folder, from which it says where its paths begin."""
        root = Path(os.path.relpath(self.root, folder.resolve())).as_posix() if self.root and folder else ""
        return {
            "model": self.model,
            "args": dict(self.args),
            "classes": self.classes,
            "code_sha256": self.code_sha256,
            "edits": [asdict(edit) for edit in self.edits],
            **({"root": root} if root else {}),
        }


@dataclass(frozen=True)
class ProviderResult:
    """What a provider knows of a model: the module in eval mode on the CPU, and how to build it again.

    `preprocessing`: those fields of config.Preprocessing that are known. `classes`: outputs, None where unknown.
    """

    module: nn.Module
    architecture: Architecture
    weights_sha256: str
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    classes: int | None = None


class Headed(nn.Module):
    """An encoder with a linear head behind the features that a tap reads: logits (B, outputs) of images."""

    def __init__(self, encoder: nn.Module, tap: Tap, outputs: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(tap.dim, outputs) if outputs else nn.Identity()
        self.listener = OutputHook(encoder, replace(tap, head=None, classes=0))

    def forward(self, x: Tensor) -> Tensor:
        features, _ = self.listener.run(self.encoder, x)
        logits: Tensor = self.head(features)
        return logits


def from_json(values: Mapping[str, Any], folder: Path) -> Architecture:
    """The inverse of `Architecture.to_json`. Raises KeyError or TypeError where keys are missing or unknown."""
    root = str((folder / values["root"]).resolve()) if "root" in values else ""
    edits = tuple(HeadSpec(Tap(**edit["tap"]), int(edit["outputs"]), bool(edit["wrap"])) for edit in values["edits"])
    classes = values["classes"]
    return Architecture(values["model"], dict(values["args"]), classes, values["code_sha256"], edits, root)


def build(architecture: Architecture, root: Path, name: str) -> nn.Module:
    """The module of an architecture with random weights, in eval mode, for the source of this name.

    Raises ContractError where a user's own file is no longer the one that it was built from.
    """
    provider, rest = specs.provider("model provider", architecture.model)
    # A folder that went elsewhere alone may find the user's file beside the zoo.toml that names it.
    if architecture.root and (Path(architecture.root) / rest.rpartition(":")[0]).is_file():
        root = Path(architecture.root)
    source = Source(name, architecture.model, architecture.args, classes=architecture.classes)
    provided: ProviderResult = registry.load(registry.MODELS[provider])(source, rest, root, 0)
    if provided.architecture.code_sha256 != architecture.code_sha256:
        raise ContractError(
            f"{rest.rpartition(':')[0]} is not the file that this model was built from",
            f"bring back the one with sha256 {architecture.code_sha256}",
        )
    module = provided.module
    with seeded(0):
        for edit in architecture.edits:
            module = apply(module, edit)
    return module.eval()


def apply(module: nn.Module, edit: HeadSpec) -> nn.Module:
    """Put a head on a module: inside it, or around it. The new head's weights come from torch's global generator."""
    if edit.wrap:
        return Headed(module, edit.tap, edit.outputs)
    name = head_name(edit)
    new: nn.Module = nn.Identity()
    if edit.outputs:
        old = module.get_submodule(name)
        bias = getattr(old, "bias", None) is not None
        if edit.tap.pool:
            new = nn.Conv2d(edit.tap.dim, edit.outputs, 1, bias=bias)
        else:
            new = nn.Linear(edit.tap.dim, edit.outputs, bias=bias)
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, new)
    if isinstance(getattr(module, "num_classes", None), int):
        # torchvision and timm keep it beside the head, and some read it.
        module.num_classes = edit.outputs  # type: ignore[assignment]
    return module


def head_name(edit: HeadSpec) -> str:
    """The dotted name of the head after an edit."""
    return "head" if edit.wrap else edit.tap.head or ""
