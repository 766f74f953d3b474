"""onnx:FILE, a network that onnxruntime computes (extra onnx): it can be run, but not trained."""

import copy
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from zoo_cli.config import Source
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded, one_line
from zoo_cli.models import onnx_graph
from zoo_cli.models.architecture import Architecture, PreprocessingDefaults, ProviderResult, count_declared_classes
from zoo_cli.models.capture import Tap
from zoo_cli.models.inference_only import InferenceOnly
from zoo_cli.models.onnx_graph import GraphHead, GraphInput
from zoo_cli.models.onnx_runtime import import_library, open_session
from zoo_cli.store import export_files
from zoo_cli.store.export_files import METADATA, ExportDescription

RAW_MEAN, RAW_STD = 0.0, 1.0
"""The normalisation of a graph that takes pixels as they are decoded: none, so that `OnnxNetwork` gets them back."""


class OnnxNetwork(InferenceOnly):
    """An ONNX graph as a network: images (B, channels, size, size), normalised as for any source, to logits (B, K).

    Without a head it returns features (B, D) or (B, D, H, W). It runs on the CPU, wherever its input is. The layers
    `features` and `logits` only pass on what the graph gives, for hooks.
    """

    def __init__(self, model: Any, session: Any, graph_input: GraphInput, head: GraphHead, path: Path):
        super().__init__()
        self.session = session
        self.graph_input = graph_input
        self.head = head
        self.path = path
        self.weight_count = onnx_graph.count_weights(model)
        self.features = nn.Identity()
        self.logits = nn.Identity()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """A copy with hooks of its own; the session, which never changes, is shared."""
        duplicate = type(self).__new__(type(self))
        memo[id(self)] = duplicate
        memo[id(self.session)] = self.session
        duplicate.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        return duplicate

    def forward(self, images: Tensor) -> Tensor:
        values = self._compute(images)
        features: Tensor = self.features(values[0])
        if self.head.logits is None:
            return features
        logits: Tensor = self.logits(values[1])
        return logits

    def find_tap(self, example: Tensor) -> Tap:
        """Where features and logits are read. Raises UsageError for shapes that neither can have."""
        features, *logits = self._compute(example)
        if features.ndim not in (2, 4) or len(features) != len(example):
            raise UsageError(
                f'the tensor "{self.head.features}" has shape {_shape(features)} for two images, which no feature has',
                "set feature_layer to a tensor of (B, D) or (B, D, H, W)",
            )
        if not all(torch.isfinite(values).all() for values in (features, *logits)):
            raise ContractError("the model's output is not finite on a batch of normal noise", "check the file")
        if logits and logits[0].shape[:-1] != example.shape[:1]:
            raise UsageError(
                f'the output "{self.head.logits}" has shape {_shape(logits[0])} for two images, which no logits have',
                "set head = false",
            )
        classes = logits[0].shape[1] if logits else 0
        return Tap("features", "output", features.ndim == 4, "logits" if logits else None, features.shape[1], classes)

    def _compute(self, images: Tensor) -> list[Tensor]:
        """Features and, with a head, logits of images, on their device."""
        x = images.detach().to("cpu", torch.float32)
        if self.graph_input.type == "uint8":
            x = (x * 255).round().clamp(0, 255).to(torch.uint8)
        elif self.graph_input.type == "float16":
            x = x.half()
        if self.graph_input.channels_last:
            x = x.permute(0, 2, 3, 1)
        return [torch.from_numpy(array).float().to(images.device) for array in self._run(x.contiguous().numpy())]

    def _run(self, x: np.ndarray) -> list[np.ndarray]:
        """`_compute` as arrays. A graph with a fixed batch gets one after another, the last filled with zeros."""
        names = [self.head.features, *([] if self.head.logits is None else [self.head.logits])]
        size = self.graph_input.batch or max(1, len(x))
        pieces = []
        for start in range(0, max(1, len(x)), size):
            piece = x[start : start + size]
            short = size - len(piece)
            full = np.concatenate([piece, np.zeros((short, *x.shape[1:]), x.dtype)]) if short else piece
            pieces.append([values[: len(piece)] for values in self.session.run(names, {self.graph_input.name: full})])
        return [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]


def load_onnx(source: Source, rest: str, root: Path, seed: int) -> ProviderResult:  # noqa: ARG001 - providers share it
    """The network in an ONNX file. For one that `zoo export` wrote, preprocessing and class names are known.

    `feature_layer` is the name of a tensor of the graph; by default the input of its last matrix product, see
    `onnx_graph`. `classes = 0` and `head = false` make the output the feature. Raises UsageError for a missing file or
    extra and for declarations that do not fit the graph, ContractError for a damaged file.
    """
    path, where = root / rest, f"source {source.name}"
    if not path.is_file():
        raise UsageError(f'{where}: no file "{rest}"', "paths are relative to zoo.toml")
    if source.weights or source.args:
        raise UsageError(f"{where}: an ONNX file has its own weights and takes no args", "drop weights and args")
    import_library("onnxruntime")
    if export_files.has_record(path):
        export_files.load_checked_record(path)
    data = path.read_bytes()
    model = onnx_graph.parse_graph(data, path)
    text = onnx_graph.read_metadata(model).get(METADATA)
    description = None if text is None else export_files.parse_description(text, path)
    graph_input = onnx_graph.read_input(model, where)
    declared = count_declared_classes(source)
    head = onnx_graph.find_head(model, declared, source.feature_layer, source.head, where)
    network = OnnxNetwork(model, _open(model, data, head, path), graph_input, head, path)
    raw = graph_input.type == "uint8"
    if raw and (source.mean or source.std):
        raise UsageError(f"{where}: the graph takes pixels of 0 to 255 and normalises them itself", "drop mean and std")
    names = None if description is None or head.logits is None else tuple(description.classes)
    return ProviderResult(
        network.eval(),
        Architecture(f"onnx:{rest}", classes=declared, root=str(root.resolve())),
        hashlib.sha256(data).hexdigest(),
        _preprocessing(graph_input, description),
        names,
        None if description is None else len(description.classes),
        () if description is None else tuple(description.trained_on),
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape))


def _open(model: Any, data: bytes, head: GraphHead, path: Path) -> Any:
    """A session whose outputs are the logits and the features, also where the graph does not return them."""
    names = {value.name for value in model.graph.output}
    missing = [name for name in (head.logits, head.features) if name is not None and name not in names]
    if missing:
        kind = import_library("onnx").ValueInfoProto
        model.graph.output.extend(kind(name=name) for name in dict.fromkeys(missing))
        data = model.SerializeToString()
    try:
        with guarded(str(path)):
            return open_session(data)
    except UsageError as error:
        reason = one_line(error.__cause__ or error)
        raise ContractError(f"{path}: onnxruntime cannot run it: {reason}", onnx_graph.SAVE_AGAIN) from None


def _preprocessing(graph_input: GraphInput, description: ExportDescription | None) -> PreprocessingDefaults:
    """What is known of the preprocessing: all of an exported model, else what the shape of the input says."""
    channels = graph_input.channels
    raw = graph_input.type == "uint8"
    scale = {"mean": (RAW_MEAN,) * (channels or 3), "std": (RAW_STD,) * (channels or 3)} if raw else {}
    values: dict[str, Any] = {"input_size": graph_input.side, "channels": channels}
    if description is not None:
        values = asdict(description.preprocessing)
    return PreprocessingDefaults(**{**values, **scale})
