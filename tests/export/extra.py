"""Whether the extra `onnx` is installed, without importing it, which takes seconds."""

from importlib.util import find_spec

import pytest

MISSING = [name for name in ("onnx", "onnxruntime", "onnxscript") if find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(MISSING), reason=f"needs the extra onnx: {', '.join(MISSING)} not installed")
