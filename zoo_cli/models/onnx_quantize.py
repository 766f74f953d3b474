"""Static quantization of an ONNX model to 8-bit integers by onnxruntime."""

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from zoo_cli.guard import guarded
from zoo_cli.models.exported import finish_onnx
from zoo_cli.models.onnx_runtime import hushed, import_library
from zoo_cli.store.export_files import ExportDescription


def quantize_onnx(content: bytes, batches: Iterable[np.ndarray], description: ExportDescription) -> bytes:
    """The bytes of an exported ONNX model with 8-bit weights, by channel, and 8-bit activations.

    `batches`: its inputs, each (B, …), whose smallest and largest activations set the ranges. Raises UsageError for a
    graph that onnxruntime cannot quantize.
    """
    quantization = import_library("onnxruntime.quantization")
    shapes = import_library("onnxruntime.quantization.shape_inference")
    onnx = import_library("onnx")
    feeds = ({description.input.name: batch} for batch in batches)

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder, hushed(), guarded("the model cannot be quantized"):
        plain, prepared, result = (Path(folder, name) for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(content)
        shapes.quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
        quantization.quantize_static(
            str(prepared),
            str(result),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        return finish_onnx(onnx.load(str(result)), description)
