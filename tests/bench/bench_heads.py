"""How much faster the fused heads and loss of 28 sources are than a loop over 28 heads, forward and backward.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_heads [cpu|cuda]      prints one JSON object
    OMP_NUM_THREADS=1 pytest -m bench tests/bench/bench_heads.py        asserts the ratio and that gradients agree

Batch 64, 1,280 features, the PARC zoo's 4,176 columns. The loop starts from prepared targets, in float32 and summing to
1; the fused form starts from the stored float16 and also computes the targets' entropy.
"""

import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.bench import interleaved
from zoo_cli.objectives import segmented, segments

CLASSES = (555, 37, 200, 101, 120, 21, 10) * 4
OFFSETS = tuple(sum(CLASSES[:s]) for s in range(len(CLASSES) + 1))
ALPHA = tuple(1 / len(CLASSES) for _ in CLASSES)
KINDS: tuple[segments.Kind, ...] = ("softmax",) * len(CLASSES)
FEATURES = 1280
TARGET = {"cpu": 1.1, "cuda": 10.0}


@pytest.mark.bench
def test_fused_heads_are_faster_than_a_loop() -> None:
    result = measure(torch.device("cpu"), blocks=7, calls=5)
    assert result["gradients differ by"] < 1e-5
    assert result["ratio"]["median"] >= TARGET["cpu"]


@pytest.mark.bench
@pytest.mark.gpu(checks=f"28 heads side by side are {TARGET['cuda']:g} times as fast as a loop, with its gradients")
def test_fused_heads_are_faster_than_a_loop_on_a_gpu() -> None:
    result = measure(torch.device("cuda"), blocks=7, calls=100)
    assert result["gradients differ by"] < 1e-4
    assert result["ratio"]["median"] >= TARGET["cuda"]


def measure(device: torch.device, blocks: int = 9, calls: int = 10, rows: int = 64) -> dict[str, Any]:
    """Milliseconds of each form, and the ratio of the loop to the fused form."""
    torch.manual_seed(0)
    features = torch.randn(rows, FEATURES, device=device, requires_grad=True)
    stored = torch.cat([torch.randn(rows, k, device=device).mul(2).softmax(1) for k in CLASSES], 1).half()
    joint = nn.Linear(FEATURES, OFFSETS[-1], device=device)
    heads = nn.ModuleList(nn.Linear(FEATURES, k, device=device) for k in CLASSES)
    with torch.no_grad():
        for s, head in enumerate(heads):
            head.weight.copy_(joint.weight[OFFSETS[s] : OFFSETS[s + 1]])
            head.bias.copy_(joint.bias[OFFSETS[s] : OFFSETS[s + 1]])
    targets = [q.float() / q.float().sum(1, keepdim=True) for q in stored.split(CLASSES, 1)]
    leaves = [features, *joint.parameters(), *heads.parameters()]
    upstream = torch.randn(rows, OFFSETS[-1], device=device) * 1e-3

    def loop() -> Tensor:
        loss = features.new_zeros(())
        for head, q, a in zip(heads, targets, ALPHA, strict=True):
            loss = loss - a * (q * torch.log_softmax(head(features), 1)).sum(1).mean()
        return loss

    def fused() -> Tensor:
        scores = segmented.linear(features, joint.weight, joint.bias)
        return segmented.soft_cross_entropy(scores, stored, OFFSETS, ALPHA, KINDS).loss

    def fused_loss_alone() -> Tensor:
        return segmented.soft_cross_entropy(joint(features), stored, OFFSETS, ALPHA, KINDS).loss

    widest = max(CLASSES)
    padded_q = torch.stack([nn.functional.pad(q, (0, widest - q.shape[1])) for q in targets], 1)
    column = torch.arange(widest, device=device)
    starts = torch.tensor(OFFSETS[:-1], device=device)[:, None]
    outside = column >= torch.tensor(CLASSES, device=device)[:, None]
    place = (starts + column).masked_fill(outside, 0).flatten()
    weights = torch.tensor(ALPHA, device=device)

    def padded() -> Tensor:
        scores = joint(features).index_select(1, place).view(rows, len(CLASSES), widest)
        log_p = scores.masked_fill(outside, -1e9).log_softmax(2)
        return -((padded_q * log_p).sum(2).mean(0) * weights).sum()

    def products() -> Tensor:
        return joint(features)

    def run(form: Any) -> None:
        for leaf in leaves:
            leaf.grad = None
        value = form()
        value.backward(None if value.ndim == 0 else upstream)

    def gradient(form: Any, heads: list[nn.Linear]) -> list[Tensor]:
        run(form)
        return [features.grad, torch.cat([h.weight.grad for h in heads]), torch.cat([h.bias.grad for h in heads])]

    pairs = zip(gradient(fused, [joint]), gradient(loop, list(heads)), strict=True)
    differ = max(((a - b).norm() / b.norm()).item() for a, b in pairs)
    forms = {f.__name__: f for f in (loop, fused, fused_loss_alone, padded, products)}
    times = interleaved.milliseconds(
        {name: lambda form=form: run(form) for name, form in forms.items()}, device, blocks, calls
    )
    return {
        **interleaved.machine(device),
        "rows": rows,
        "columns": OFFSETS[-1],
        "milliseconds": interleaved.summary(times),
        "ratio": interleaved.ratio(times["loop"], times["fused"]),
        "ratio with torch's own product": interleaved.ratio(times["loop"], times["fused_loss_alone"]),
        "target": TARGET[device.type],
        "gradients differ by": differ,
    }


if __name__ == "__main__":
    where = torch.device(sys.argv[1] if len(sys.argv) > 1 else "cpu")
    print(json.dumps(measure(where, calls=100 if where.type == "cuda" else 10)))
