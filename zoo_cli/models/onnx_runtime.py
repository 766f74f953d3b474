"""The libraries of the extra `onnx`, imported where they are used, with one line if they are missing."""

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from zoo_cli import devices
from zoo_cli.errors import UsageError
from zoo_cli.guard import guarded

EXTRA = 'pip install "zoo-cli[onnx]"'


def import_library(name: str) -> Any:
    """The module `name`, of onnx, onnxruntime or onnxscript. Raises UsageError where it cannot be imported."""
    package = name.partition(".")[0]
    try:
        with guarded(f"{package} cannot be imported", "install the version for this Python and numpy"):
            return importlib.import_module(name)
    except UsageError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] == package:
            raise UsageError(f"{package} is not installed", EXTRA) from None
        raise


def open_session(model: bytes) -> Any:
    """A session of onnxruntime on the CPU, with as many threads as torch has."""
    runtime = import_library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = devices.threads()
    options.log_severity_level = 4  # what is wrong with a model is raised, too
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@contextmanager
def hushed() -> Iterator[None]:
    """A context in which libraries neither warn nor log: what matters of it they raise."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)
