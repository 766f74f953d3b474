"""What the graph of an ONNX file says without being run: its input, its logits, and the features that its head reads.

The rule is that of `capture`, on the graph: going backwards from the output through what only reshapes it or turns it
into probabilities, (1) a matrix product with weights: features are what it reads; (2) a mean over space of a 1x1
convolution, possibly after ReLU: features are the convolution's input, averaged over space; (3) else, if the source
declares as many classes as the output has columns, the user must set `feature_layer`, the name of a tensor of the
graph; (4) else the output is the feature.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo_cli import specs
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.guard import guarded, one_line
from zoo_cli.models.onnx_runtime import import_library
from zoo_cli.models.program_files import ONNX, find_kind
from zoo_cli.store.export_files import METADATA

PASSED = ("Identity", "Softmax", "LogSoftmax", "Sigmoid", "Cast", "Flatten", "Reshape", "Squeeze", "Dropout")
ACTIVATED = ("Softmax", "LogSoftmax", "Sigmoid")
POOLED = ("GlobalAveragePool", "ReduceMean", "AveragePool")
COUNTED = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8")
SAVE_AGAIN = "fetch it or export it again"
OTHER_PROGRAM = "write it as ONNX: zoo export --format onnx, or torch.onnx.export"


@dataclass(frozen=True)
class GraphInput:
    """The image input of a graph. `side`, `channels`, `batch`: None where the graph leaves them open."""

    name: str
    type: str
    channels_last: bool
    side: int | None
    channels: int | None
    batch: int | None


@dataclass(frozen=True)
class GraphHead:
    """The tensors of a graph that hold its logits (None without a head) and its features, by name."""

    logits: str | None
    features: str


def parse_graph(data: bytes, path: Path) -> Any:
    """The ModelProto of an ONNX file. Raises ContractError for other bytes, UsageError for weights in other files."""
    onnx = import_library("onnx")
    try:
        with guarded(str(path)):
            model = onnx.load_model_from_string(data)
    except UsageError as error:  # protobuf has several errors for damaged bytes
        if (kind := find_kind(path)) is not None and kind != ONNX:
            raise UsageError(f"{path} is {kind}, not an ONNX file", OTHER_PROGRAM) from None
        raise ContractError(
            f"{path} is not a complete ONNX file: {one_line(error.__cause__ or error)}", SAVE_AGAIN
        ) from None
    if not model.graph.node or not model.graph.output:
        raise ContractError(f"{path} is not a complete ONNX file: it has no graph", SAVE_AGAIN)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise UsageError(
            f"{path} has its weights in other files", "save it as one: onnx.save(onnx.load(path), new_path)"
        )
    return model


def read_metadata(model: Any) -> Mapping[str, str]:
    """The metadata of a model, by key."""
    return {entry.key: entry.value for entry in model.metadata_props}


def is_exported(model: Any) -> bool:
    """Whether zoo has exported it."""
    return METADATA in read_metadata(model)


def count_weights(model: Any) -> int:
    """The number of weights of a graph: the elements of its constant tensors, but for integers that are shapes."""
    kinds = import_library("onnx").TensorProto
    counted = {getattr(kinds, name) for name in COUNTED}
    total = 0
    for tensor in model.graph.initializer:
        if tensor.data_type in counted and tensor.dims:
            size = 1
            for dim in tensor.dims:
                size *= dim
            total += size
    return total


def read_input(model: Any, where: str) -> GraphInput:
    """The image input of a graph. Raises UsageError for several inputs, and for one that is not a batch of images."""
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(value.name for value in inputs) or "none"
        raise UsageError(
            f"{where}: the graph has {len(inputs)} inputs ({names})", "export it with images as the only one"
        )
    (value,) = inputs
    kinds = import_library("onnx").TensorProto
    tensor = value.type.tensor_type
    kind = {kinds.FLOAT: "float32", kinds.FLOAT16: "float16", kinds.UINT8: "uint8"}.get(tensor.elem_type)
    dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim]
    if kind is None or len(dims) != 4:
        raise UsageError(
            f'{where}: the input "{value.name}" is not a batch of images',
            "expected float32, float16 or uint8 of 4 dimensions",
        )
    batch, *rest = dims
    channels_last = rest[2] in (1, 3) and rest[0] not in (1, 3)
    channels, high, wide = (rest[2], rest[0], rest[1]) if channels_last else (rest[0], rest[1], rest[2])
    if high != wide and None not in (high, wide):
        raise UsageError(f"{where}: its images are {high} x {wide}", "zoo prepares square images only")
    return GraphInput(value.name, kind, channels_last, high or wide, channels, batch)


def find_head(model: Any, classes: int | None, feature_layer: str, head: bool, where: str) -> GraphHead:
    """Where the logits and features of a graph are, see the rule above.

    `classes`, `feature_layer`, `head`: as the source declares them. Raises UsageError if the user must set
    `feature_layer`, or if no tensor has this name.
    """
    outputs = [value.name for value in model.graph.output]
    producers = {name: node for node in model.graph.node for name in node.output}
    output = "logits" if "logits" in outputs else outputs[0]
    features = "features" if is_exported(model) and "features" in outputs else None
    logits = _skip_activation(producers, output) if head and classes != 0 else None
    if feature_layer:
        if feature_layer not in producers:
            raise specs.nearest(f"tensor in the graph of {where}", feature_layer, producers)
        return GraphHead(logits, feature_layer)
    if logits is None:
        return GraphHead(None, features or output)
    features = features or _find_features(model, producers, output)
    if features is not None:
        return GraphHead(logits, features)
    if classes is None:
        return GraphHead(None, output)
    last = [node.input[0] for node in model.graph.node if node.input and node.input[0] in producers]
    raise UsageError(
        f"{where}: no matrix product of the graph gives its {classes} outputs, so its features are unknown",
        f'set feature_layer to a tensor of the graph, e.g. "{last[-1]}", or head = false if the output is the feature',
    )


def _skip_activation(producers: Mapping[str, Any], name: str) -> str:
    """The logits of an output: the input of the softmax or sigmoid that makes probabilities of them."""
    node = producers.get(name)
    if node is not None and node.op_type in ACTIVATED:
        return str(node.input[0])
    if node is not None and node.op_type == "Identity":
        return _skip_activation(producers, node.input[0])
    return name


def _find_features(model: Any, producers: Mapping[str, Any], output: str) -> str | None:
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    node = producers.get(output)
    while node is not None and node.op_type in PASSED:
        node = producers.get(node.input[0])
    if node is not None and node.op_type == "Add":
        terms = [name for name in node.input if name not in constants]
        node = producers.get(terms[0]) if len(terms) == 1 else None
    if node is None:
        return None
    if node.op_type in ("Gemm", "MatMul") and node.input[1] in constants:
        transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
        return None if transposed else str(node.input[0])
    if node.op_type in POOLED:
        node = producers.get(node.input[0])
        if node is not None and node.op_type == "Relu":
            node = producers.get(node.input[0])
        if node is not None and node.op_type == "Conv" and _is_pointwise(model, node):
            return str(node.input[0])
    return None


def _is_pointwise(model: Any, node: Any) -> bool:
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    return shapes.get(node.input[1], [])[2:] == [1, 1]
