"""A network as one graph for other runtimes: traced by torch.export, and written as ONNX or as a .pt2 file."""

import contextlib
import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from zoo_cli.config import Preprocessing
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded
from zoo_cli.models import cost
from zoo_cli.models.inference_only import InferenceOnly
from zoo_cli.models.loading import LoadedModel
from zoo_cli.models.onnx_runtime import hushed, import_library
from zoo_cli.store.export_files import METADATA, ExportDescription, ExportInput

INPUT, BATCH = "images", "batch"
EXTRA_FILE = f"{METADATA}.json"
OPSET = 18
"""Which every torch since 2.6 writes, and onnxruntime since 1.14 runs."""


class ExportedNetwork(nn.Module):
    """Returns logits (B, K) and features (B, D) of images, as other runtimes get them.

    Images are (B, channels, size, size) float32, normalised; with `raw` (B, size, size, channels) uint8, as decoded.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: LoadedModel, *, raw: bool):
        super().__init__()
        self.module = model.module
        self.hook = model.extractor().hook
        self.raw = raw
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model.preprocessing, name)).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if self.raw:
            images = (images.permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        features, logits = self.hook.run(self.module, images)
        assert logits is not None, "a network without a head is not exported"
        return logits, features


def trace_network(model: LoadedModel, *, raw: bool) -> Any:
    """The ExportedProgram of a loaded model, for any batch size.

    Raises UsageError for a model without a head, and for an architecture that torch.export cannot trace.
    """
    if isinstance(model.module, InferenceOnly):
        raise UsageError(f"{model.title} is an exported model already", "copy the file")
    if model.tap.head is None:
        raise UsageError(f"{model.source.name} has no head, so there is nothing to compare", "export a student")
    network = ExportedNetwork(model, raw=raw).eval()
    size, channels = model.preprocessing.input_size, model.preprocessing.channels
    # With two images: torch.export takes a batch of one for a constant.
    example = torch.zeros(2, size, size, channels, dtype=torch.uint8) if raw else torch.zeros(2, channels, size, size)
    with _exporting(model.title), torch.no_grad():
        batch = torch.export.Dim(BATCH, min=1)
        return torch.export.export(network, (example,), dynamic_shapes=({0: batch},), strict=False)


def to_onnx(program: Any, title: str, description: ExportDescription) -> bytes:
    """The bytes of an ONNX file of a traced network, with its description as metadata.

    Raises UsageError if torch's exporter lacks an operator of the network, or a library of the extra is missing.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        import_library(name)
    with _exporting(title), torch.no_grad():
        exported = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            external_data=False,
            optimize=True,
            input_names=[INPUT],
            output_names=list(description.outputs),
        )
        assert exported is not None
        return finish_onnx(exported.model_proto, description)


def finish_onnx(model: Any, description: ExportDescription) -> bytes:
    """The bytes of a ModelProto with its description, a named batch, and nothing of the machine that made it."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.HasField("dim_param") and dim.dim_param == symbol:
                dim.dim_param = BATCH
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")  # of nodes, the files and lines of the code
        part.ClearField("doc_string")
    model.metadata_props.add(key=METADATA, value=_to_text(description))
    return bytes(model.SerializeToString(deterministic=True))


def to_pt2(program: Any, title: str, description: ExportDescription) -> bytes:
    """The bytes of a .pt2 file of a traced network, with its description as the extra file `EXTRA_FILE`."""
    stream = io.BytesIO()
    with _exporting(title):
        torch.export.save(program, stream, extra_files={EXTRA_FILE: _to_text(description)})
    return stream.getvalue()


def describe_export(model: LoadedModel, classes: tuple[str, ...], *, raw: bool) -> ExportDescription:
    """What an exported model says of itself. `raw`: it normalises the pixels itself."""
    preprocessing = model.preprocessing
    size, channels = preprocessing.input_size, preprocessing.channels
    if raw:
        graph_input = ExportInput(INPUT, "uint8", "NHWC", (BATCH, size, size, channels))
    else:
        graph_input = ExportInput(INPUT, "float32", "NCHW", (BATCH, channels, size, size))
    return ExportDescription(
        graph_input,
        {"logits": (BATCH, len(classes)), "features": (BATCH, model.tap.dim)},
        preprocessing,
        raw,
        tuple(_list_steps(preprocessing, raw)),
        classes,
        "sigmoid" if model.output == "sigmoid" else "softmax",
        model.source.trained_on,
        model.weights_sha256,
        cost.count_parameters(model.module),
    )


def _list_steps(preprocessing: Preprocessing, raw: bool) -> Iterator[str]:
    """How an image becomes the input.

    Pillow resizes in two passes, each rounded to 8 bits, in an order that differs between its versions: a graph that
    resizes would not answer as the run does.
    """
    size, how = preprocessing.input_size, f"{preprocessing.interpolation}, as Pillow does"
    yield f"decode to {'RGB' if preprocessing.channels == 3 else 'grey'}, turned upright by its EXIF orientation"
    if preprocessing.resize is None:
        yield f"resize to {size} x {size}: {how}"
    else:
        yield f"resize the shorter side to {preprocessing.resize}: {how}"
        yield f"crop the centre, {size} x {size}"
    if raw:
        yield "pass the pixels as they are: uint8, channels last"
    else:
        mean, std = list(preprocessing.mean), list(preprocessing.std)
        yield f"divide by 255, subtract {mean}, divide by {std}: float32, channels first"


def _to_text(description: ExportDescription) -> str:
    return json.dumps(asdict(description), separators=(",", ":"), ensure_ascii=True)


@contextlib.contextmanager
def _exporting(title: str) -> Iterator[None]:
    """The context of torch's exporters: what they print is dropped, what they raise is an error of one line."""
    silence = io.StringIO()
    with (
        guarded(f"{title} cannot be exported", "use an architecture that torch.export can trace"),
        hushed(),
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        yield
