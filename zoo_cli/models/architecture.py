"""How to build a network again without its weights: a provider's spec, and the heads attached since."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from zoo_cli import config, registry, specs, trust
from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded
from zoo_cli.models.capture import OutputHook, Tap
from zoo_cli.models.third_party import seeded
from zoo_cli.store import files


@dataclass(frozen=True)
class HeadSpec:
    """A linear head on a network: in the place of the head of `tap` or, with `wrap`, on the features of `tap`.

    `outputs`: classes of the head; 0 leaves it out, so that the network returns the features themselves.
    """

    tap: Tap
    outputs: int
    wrap: bool = False


@dataclass(frozen=True)
class Architecture:
    """A network without weights. `args` and paths are as the user wrote them, relative to the folder `root`.

    `classes`: passed to the provider's factory, None for its default. `code_sha256`: of a user's own file. `heads`: in
    the order in which they were attached. `root`: empty without paths.
    """

    model: str
    args: Mapping[str, Any] = field(default_factory=dict)
    classes: int | None = None
    code_sha256: str = ""
    heads: tuple[HeadSpec, ...] = ()
    root: str = ""

    def with_head(self, head: HeadSpec) -> Self:
        """The same with one more head, which takes the place of the last one if it replaces that."""
        heads = self.heads
        if heads and not head.wrap and head.tap.head == head_name(heads[-1]):
            if heads[-1].wrap:
                head = replace(heads[-1], outputs=head.outputs)
            heads = heads[:-1]
        return replace(self, heads=(*heads, head))

    def with_outputs(self, outputs: int) -> Self:
        """The same with another number of classes of its last head."""
        *before, last = self.heads
        return replace(self, heads=(*before, replace(last, outputs=outputs)))

    def to_json(self, folder: Path | None = None) -> dict[str, Any]:
        """The record in a config.json. `folder`: its folder, to which the root of paths is made relative."""
        root = Path(os.path.relpath(self.root, folder.resolve())).as_posix() if self.root and folder else ""
        return {
            "model": self.model,
            "args": dict(self.args),
            "classes": self.classes,
            "code_sha256": self.code_sha256,
            "edits": [_to_record(head) for head in self.heads],
            **({"root": root} if root else {}),
        }


@dataclass(frozen=True)
class PreprocessingDefaults:
    """The fields of `config.Preprocessing` that a provider knows; None if unknown."""

    input_size: int | None = None
    resize: int | None = None
    interpolation: str | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class ProviderResult:
    """What a provider knows of a model: the module, in eval mode on the CPU, and how to build it again.

    `preprocessing`: as far as it is known. `classes`: number of outputs, None if unknown. `trained_on`: the data sets
    that its files name as seen. `body`: equal for models that differ only in their heads, empty if
    it is not known.
    """

    module: nn.Module
    architecture: Architecture
    weights_sha256: str
    preprocessing: PreprocessingDefaults = field(default_factory=PreprocessingDefaults)
    class_names: tuple[str, ...] | None = None
    classes: int | None = None
    trained_on: tuple[str, ...] = ()
    body: str = ""


class EncoderWithHead(nn.Module):
    """An encoder with a linear head on the features of a tap: returns logits (B, outputs) of images."""

    def __init__(self, encoder: nn.Module, tap: Tap, outputs: int):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(tap.dim, outputs) if outputs else nn.Identity()
        self.hook = OutputHook(encoder, replace(tap, head=None, classes=0))

    def forward(self, x: Tensor) -> Tensor:
        features, _ = self.hook.run(self.encoder, x)
        logits: Tensor = self.head(features)
        return logits


@dataclass(frozen=True)
class ArchitectureRecord:
    """An architecture as a config.json holds it, see `Architecture.to_json`. `root`: relative to its folder."""

    model: str
    args: Mapping[str, Any]
    classes: int | None
    code_sha256: str
    edits: tuple[HeadSpec, ...]
    root: str = ""

    def resolve(self, folder: Path) -> Architecture:
        """The architecture, its root made absolute. `folder`: that of the config.json."""
        root = str((folder / self.root).resolve()) if self.root else ""
        return Architecture(self.model, self.args, self.classes, self.code_sha256, self.edits, root)


def _to_record(head: HeadSpec) -> dict[str, Any]:
    record = asdict(head)
    if not head.tap.output:
        del record["tap"]["output"]
    return record


def count_declared_classes(source: Source) -> int | None:
    """The number of classes that a source declares; None if it declares none."""
    return len(source.classes) if isinstance(source.classes, tuple) else source.classes


def build_network(architecture: Architecture, root: Path, name: str) -> nn.Module:
    """Build the module of an architecture, with random weights from a fixed seed and in eval mode, for source `name`.

    Raises ContractError if a user's own file has changed since the architecture was recorded.
    """
    provider, rest = specs.provider("model provider", architecture.model)
    if provider == "onnx":
        raise UsageError(
            f"source {name}: {architecture.model} has no architecture to which other weights belong",
            "name the model that it was exported from",
        )
    if provider == "python":
        root = _code_root(architecture, root)
        _check_code(root / rest.rpartition(":")[0], architecture)
    source = Source(name, architecture.model, architecture.args, classes=architecture.classes)
    provided: ProviderResult = registry.load(registry.MODELS[provider])(source, rest, root, 0)
    module = provided.module
    with seeded(0), guarded(f"source {name}: a recorded head does not fit its network", "fetch its folder again"):
        for head in architecture.heads:
            module = attach_head(module, head)
    return module.eval()


def permit_code(architecture: Architecture, folder: Path, root: Path, name: str) -> Architecture:
    """The architecture that the config.json in `folder` records, with the code file that may run for it.

    Raises UsageError for code that neither the workspace `root` nor the user names, see `trust`; ContractError for an
    architecture that is not that of a network.
    """
    provider, rest = specs.provider("model provider", architecture.model)
    if provider in ("file", "features", "onnx"):
        raise ContractError(f"{folder} names no network: {architecture.model}", "fetch the folder again")
    if provider != "python":
        return architecture
    path, _, factory = rest.rpartition(":")
    code = _code_root(architecture, root) / path
    permitted = trust.permitted_file(code, architecture.code_sha256, folder, root)
    if permitted is None:
        raise UsageError(
            f"source {name}: its config.json runs code, {path}, that this workspace does not name",
            f"read it first; then --trust {folder}, or name the file in {config.FILE}",
        )
    if permitted == code:
        return architecture
    # What the user has named is run, and not a copy beside which other files may lie.
    return replace(architecture, model=f"python:{permitted.name}:{factory}", root=str(permitted.parent.resolve()))


def _code_root(architecture: Architecture, root: Path) -> Path:
    """The folder to which the code file of an architecture is relative."""
    path = specs.provider("model provider", architecture.model)[1].rpartition(":")[0]
    # The folder may have been moved alone; the user's file is then looked up beside the zoo.toml that names it.
    beside = architecture.root and (Path(architecture.root) / path).is_file()
    return Path(architecture.root) if beside else root


def _check_code(file: Path, architecture: Architecture) -> None:
    """Raise ContractError, before it runs, for another code file than the architecture was recorded with."""
    if file.is_file() and files.digest(file) != architecture.code_sha256:
        raise ContractError(
            f"{file.name} is not the file that this model was built from",
            f"restore the one with sha256 {architecture.code_sha256}",
        )


def attach_head(module: nn.Module, head: HeadSpec) -> nn.Module:
    """Attach a head inside a module or around it; its weights are drawn from torch's global generator."""
    if head.wrap:
        return EncoderWithHead(module, head.tap, head.outputs)
    name = head_name(head)
    new: nn.Module = nn.Identity()
    if head.outputs:
        old = module.get_submodule(name)
        bias = getattr(old, "bias", None) is not None
        if head.tap.pool:
            new = nn.Conv2d(head.tap.dim, head.outputs, 1, bias=bias)
        else:
            new = nn.Linear(head.tap.dim, head.outputs, bias=bias)
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, new)
    if isinstance(getattr(module, "num_classes", None), int):
        # torchvision and timm keep this number beside the head, and some of their modules read it.
        module.num_classes = head.outputs  # type: ignore[assignment]
    return module


def head_name(head: HeadSpec) -> str:
    """The dotted name of an attached head."""
    return "head" if head.wrap else head.tap.head or ""
