"""ONNX files as other programs write them: a strided convolution, the mean over space, and a head."""

from pathlib import Path
from typing import Any

import numpy as np

WIDTH, CLASSES, SIDE = 6, 3, 12
HEADS = ("linear", "softmax", "matmul", "pointwise", "none", "two")


def write_foreign(path: Path, head: str = "linear", *, layout: str = "NCHW", batch: int | str = "n") -> None:
    """Write a network whose head is one of HEADS; "two" averages two heads, "none" returns the features."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    arrays = {
        "w": random.normal(size=(WIDTH, 3, 3, 3)),
        "v": random.normal(size=(CLASSES, WIDTH)),
        "u": random.normal(size=(CLASSES, WIDTH)),
        "b": random.normal(size=CLASSES),
    }
    arrays["vt"], arrays["v4"] = arrays["v"].T.copy(), arrays["v"][:, :, None, None]
    node = helper.make_node
    first = "x" if layout == "NCHW" else "first"
    nodes = [] if layout == "NCHW" else [node("Transpose", ["x"], ["first"], perm=[0, 3, 1, 2])]
    nodes += [node("Conv", [first, "w"], ["c"], strides=[2, 2]), node("Relu", ["c"], ["r"])]
    pooled = [node("GlobalAveragePool", ["r"], ["p"]), node("Flatten", ["p"], ["f"])]
    gemm = {"transB": 1}
    heads: dict[str, list[Any]] = {
        "linear": [*pooled, node("Gemm", ["f", "v", "b"], ["y"], **gemm)],
        "softmax": [*pooled, node("Gemm", ["f", "v", "b"], ["z"], **gemm), node("Softmax", ["z"], ["y"])],
        "matmul": [*pooled, node("MatMul", ["f", "vt"], ["m"]), node("Add", ["m", "b"], ["y"])],
        "pointwise": [
            node("Conv", ["r", "v4"], ["z"]),
            node("GlobalAveragePool", ["z"], ["q"]),
            node("Flatten", ["q"], ["y"]),
        ],
        "none": [*pooled, node("Identity", ["f"], ["y"])],
        "two": [
            *pooled,
            node("Gemm", ["f", "v", "b"], ["z"], **gemm),
            node("Gemm", ["f", "u", "b"], ["t"], **gemm),
            node("Mean", ["z", "t"], ["y"]),
        ],
    }
    nodes += heads[head]
    used = {name for each in nodes for name in each.input}
    shape = [batch, 3, SIDE, SIDE] if layout == "NCHW" else [batch, SIDE, SIDE, 3]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in arrays.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
