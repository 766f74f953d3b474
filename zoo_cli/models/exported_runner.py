"""Runs an exported model as those who get it do: by onnxruntime, or by torch from its .pt2 file."""

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from zoo_cli.models.extraction import Normaliser
from zoo_cli.models.onnx_runtime import hushed, open_session
from zoo_cli.store.export_files import ExportDescription

WARM_UP, RUNS = 3, 30
LONGEST = 3.0
"""Seconds after which no further run is timed."""


@dataclass(frozen=True)
class ExportedRunner:
    """An exported model. `run`: its input (B, …) to logits (B, K), float32."""

    description: ExportDescription
    run: Callable[[np.ndarray], np.ndarray]

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Its input for decoded images (B, size, size, channels), uint8."""
        if self.description.preprocessing_inside:
            return images
        normalise = Normaliser(self.description.preprocessing, torch.device("cpu"))
        return normalise(torch.from_numpy(images)).contiguous().numpy()

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Logits (B, K) of decoded images (B, size, size, channels), uint8."""
        return self.run(self.prepare(images))

    def measure_latency(self, image: np.ndarray) -> float:
        """The median milliseconds of a run on a single decoded image (1, size, size, channels)."""
        prepared = self.prepare(image)
        seconds: list[float] = []
        for _ in range(WARM_UP):
            self.run(prepared)
        while len(seconds) < RUNS and sum(seconds) < LONGEST:
            started = time.perf_counter()
            self.run(prepared)
            seconds.append(time.perf_counter() - started)
        return round(1000 * statistics.median(seconds), 4)


def open_runner(content: bytes, form: str, description: ExportDescription) -> ExportedRunner:
    """The runner of the bytes of an exported model of a form, onnx or pt2."""
    if form == "onnx":
        session = open_session(content)
        name = description.input.name
        return ExportedRunner(description, lambda x: np.asarray(session.run(["logits"], {name: x})[0]))
    with hushed():
        network = torch.export.load(io.BytesIO(content)).module()

    def run(x: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(x))[0].numpy())

    return ExportedRunner(description, run)
