"""The heads of all sources at once: equal to a loop over heads, in value, gradient and precision."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import reference_loop
from zoo_cli.objectives import segmented
from zoo_cli.objectives.segmented import soft_cross_entropy

PARC = (555, 37, 200, 101, 120, 21, 10)
PROBE = (torch.bfloat16, torch.float16, 1000, 1.0)


def _alpha(size: int, seed: int, zeros: bool) -> tuple[float, ...]:
    weights = torch.rand(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if zeros:
        weights[::2] = 0
    return tuple(weights.tolist())


def _both(logits, targets, offsets, alpha, kinds, temperature=1.0):
    """(loss, losses, gradient) of ours and of the loop."""
    ours = logits.clone().requires_grad_()
    actual = soft_cross_entropy(ours, targets, offsets, alpha, kinds, temperature)
    (3 * actual.loss).backward()
    theirs = logits.clone().requires_grad_()
    losses = reference_loop.losses(theirs, targets, offsets, kinds, temperature)
    loss = (torch.tensor(alpha, dtype=losses.dtype) * losses).sum()
    (3 * loss).backward()
    return (actual.loss, actual.losses, ours.grad), (loss, losses, theirs.grad)


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.integers(2, 1000), min_size=1, max_size=6),
    sigmoid=st.integers(0, 63),
    zeros=st.booleans(),
    stored=st.sampled_from([torch.float16, torch.float32, torch.float64]),
    temperature=st.sampled_from([1.0, 2.0, 0.5, 3.0]),
    rows=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_loss_and_gradient_equal_a_loop_over_heads(counts, sigmoid, zeros, stored, temperature, rows, seed):
    kinds = tuple("sigmoid" if sigmoid >> s & 1 else "softmax" for s in range(len(counts)))
    logits, targets, offsets = reference_loop.case(counts, kinds, rows, seed, stored=stored)
    ours, loop = _both(logits, targets, offsets, _alpha(len(counts), seed, zeros), kinds, temperature)
    for actual, expected in zip(ours, loop, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_zoo_of_the_paper_equals_the_loop():
    counts, kinds = PARC * 4, (("softmax",) * 5 + ("sigmoid", "softmax")) * 4
    logits, targets, offsets = reference_loop.case(counts, kinds, rows=16)
    assert offsets[-1] == 4176
    for actual, expected in zip(*_both(logits, targets, offsets, _alpha(28, 0, False), kinds), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def test_gradient_agrees_with_finite_differences():
    kinds = ("softmax", "sigmoid", "softmax")
    logits, targets, offsets = reference_loop.case((3, 2, 5), kinds, rows=3, spread=1.0)

    def loss(z):
        return soft_cross_entropy(z, targets, offsets, (0.5, 0.3, 0.2), kinds, 2.0).loss

    assert torch.autograd.gradcheck(loss, logits.requires_grad_(), eps=1e-6, atol=1e-7)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_loss_reaches_its_floor_at_the_targets(temperature):
    kinds = ("softmax", "sigmoid")
    _, targets, offsets = reference_loop.case((7, 4), kinds, stored=torch.float64)
    targets = targets.clamp(1e-3, 1 - 1e-3)
    perfect = torch.cat([targets[:, :7].log(), targets[:, 7:].logit()], 1)
    at_best = soft_cross_entropy(perfect, targets, offsets, (0.7, 0.3), kinds, temperature)
    assert (at_best.loss - at_best.floor).abs() < 1e-12
    elsewhere = soft_cross_entropy(perfect + torch.randn(4, 11), targets, offsets, (0.7, 0.3), kinds, temperature)
    assert elsewhere.floor == at_best.floor
    assert elsewhere.loss > at_best.loss


def test_one_hot_targets_have_no_entropy():
    targets = torch.eye(3, dtype=torch.float16)
    assert soft_cross_entropy(torch.randn(3, 3), targets, (0, 3), (1.0,), ("softmax",)).floor == 0


def test_columns_of_weight_zero_have_no_effect():
    kinds = ("softmax", "softmax", "sigmoid")
    logits, targets, offsets = reference_loop.case((5, 9, 4), kinds)
    (loss, _, gradient), _ = _both(logits, targets, offsets, (0.0, 1.0, 0.0), kinds)
    (alone, _, its_gradient), _ = _both(logits[:, 5:14], targets[:, 5:14], (0, 9), (1.0,), kinds[1:2])
    assert loss == alone
    assert torch.equal(gradient[:, 5:14], its_gradient)
    assert not gradient[:, :5].any()
    assert not gradient[:, 14:].any()


def test_float16_targets_are_renormalised():
    logits, targets, offsets = reference_loop.case((1000,), ("softmax",), spread=0.1)
    off = (targets.double().sum(1) - 1).abs().max()
    assert off > 1e-5  # otherwise this tests nothing
    (loss, _, gradient), _ = _both(logits, targets, offsets, (1.0,), ("softmax",))
    exact = targets.double() / targets.double().sum(1, keepdim=True)
    assert (loss - torch.nn.functional.cross_entropy(logits, exact) * 1).abs() < 1e-12
    assert gradient.sum(1).abs().max() < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_half_precision_logits_are_computed_in_float32(dtype):
    kinds = ("softmax", "sigmoid")
    logits, targets, offsets = reference_loop.case((300, 20), kinds, rows=8, dtype=dtype)
    (loss, losses, gradient), _ = _both(logits, targets, offsets, (0.6, 0.4), kinds)
    assert loss.dtype == losses.dtype == torch.float32
    assert gradient.dtype == dtype
    _, (exact, _, exact_gradient) = _both(logits.double(), targets, offsets, (0.6, 0.4), kinds)
    assert (loss - exact).abs() < 1e-5 * exact
    assert (gradient - exact_gradient).abs().max() < 4 * torch.finfo(dtype).eps * exact_gradient.abs().max()


def test_large_logits_neither_overflow_nor_lose_the_loss():
    logits = torch.tensor([[1e4, -1e4, 0.0, 1e4, -1e4]])
    targets = torch.tensor([[0.5, 0.5, 0.0, 1.0, 0.0]])
    result = soft_cross_entropy(logits, targets, (0, 3, 5), (1.0, 1.0), ("softmax", "sigmoid"))
    assert result.losses.tolist() == [1e4, 0.0]


def test_targets_are_not_modified():
    logits, targets, offsets = reference_loop.case(
        (5, 3), ("softmax", "sigmoid"), dtype=torch.float32, stored=torch.float32
    )
    before = targets.clone()
    soft_cross_entropy(logits, targets * 1, offsets, (0.5, 0.5), ("softmax", "sigmoid"), 2.0)
    soft_cross_entropy(logits, targets, offsets, (0.5, 0.5), ("softmax", "sigmoid"), 2.0)
    assert torch.equal(targets, before)


def test_nan_target_makes_the_loss_nan():
    logits, targets, offsets = reference_loop.case((5, 3), ("softmax", "sigmoid"))
    targets[1, 2] = torch.nan
    for temperature in (1.0, 2.0):
        result = soft_cross_entropy(logits, targets, offsets, (0.5, 0.5), ("softmax", "sigmoid"), temperature)
        assert result.losses.isnan().tolist() == [True, False]
        assert result.loss.isnan()


@pytest.mark.parametrize(
    ("offsets", "alpha", "kinds"),
    [
        ((0, 2, 2, 5), (1.0, 0.0, 0.0), ("softmax",) * 3),
        ((1, 5), (1.0,), ("softmax",)),
        ((0, 5), (-1.0,), ("softmax",)),
        ((0, 5), (float("nan"),), ("softmax",)),
        ((0, 5), (1.0,), ("hardmax",)),
        ((0, 5), (0.5, 0.5), ("softmax",)),
        ((0, 4), (1.0,), ("softmax",)),
        ((0,), (), ()),
    ],
)
def test_mismatched_sources_are_refused(offsets, alpha, kinds):
    with pytest.raises(ValueError):
        soft_cross_entropy(torch.zeros(2, 5), torch.zeros(2, 5), offsets, alpha, kinds)


@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_product_of_all_heads_is_that_of_nn_linear(rows):
    generator = torch.Generator().manual_seed(0)
    x, w, b, up = (torch.randn(*shape, generator=generator) for shape in ((rows, 96), (131, 96), (131,), (rows, 131)))
    grads = []
    for product in (segmented.linear, torch.nn.functional.linear):
        leaves = [t.clone().requires_grad_() for t in (x, w, b)]
        y = product(*leaves)
        y.backward(up)
        grads.append([y, *(leaf.grad for leaf in leaves)])
    for actual, expected in zip(*grads, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_the_product_leaves_doubles_and_autocast_to_torch():
    x, w, b = torch.randn(3, 8), torch.randn(5, 8), torch.randn(5)
    doubles = segmented.linear(x.double(), w.double(), b.double())
    assert torch.equal(doubles, torch.nn.functional.linear(x.double(), w.double(), b.double()))
    with torch.autocast("cpu", torch.bfloat16):
        assert segmented.linear(x, w, b).dtype == torch.bfloat16


def _kernel_check(mode: str, **env: str) -> str:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.training.kernel_check", mode]
    done = subprocess.run(
        command, env={**os.environ, **env}, cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    if "only 0-dimensional arrays can be converted" in done.stderr:
        pytest.skip("this Triton's interpreter does not know this numpy")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_triton_kernel_equals_slices_in_its_interpreter():
    pytest.importorskip("triton")
    assert _kernel_check("cpu", TRITON_INTERPRET="1") == "7 cases agree"


@pytest.mark.slow
def test_the_triton_kernel_compiles_for_a_gpu(tmp_path):
    pytest.importorskip("triton", minversion="3.3")  # earlier versions call the compiler differently
    assert _kernel_check("compile", TRITON_CACHE_DIR=str(tmp_path)) == "2 kernels compiled"


@pytest.mark.gpu
def test_triton_kernel_equals_slices_on_a_gpu():
    from tests.training import kernel_check

    kernel_check.check(torch.device("cuda"))


@pytest.mark.gpu
def test_a_gpu_uses_the_triton_kernel():
    from zoo_cli.objectives import segmented_triton

    assert segmented._choose_implementation(torch.device("cuda", 0), *PROBE) is segmented_triton.loss_and_gradient


@pytest.mark.gpu
def test_a_gpu_without_triton_falls_back_to_slices(monkeypatch):
    monkeypatch.setitem(sys.modules, "zoo_cli.objectives.segmented_triton", None)
    segmented._choose_implementation.cache_clear()
    try:
        assert segmented._choose_implementation(torch.device("cuda", 0), *PROBE) is segmented.loss_and_gradient
    finally:
        segmented._choose_implementation.cache_clear()


@pytest.mark.parametrize("kind", ["no compiler", "no registers", "invalid kernel"])
def test_gpu_with_broken_triton_falls_back_to_slices(monkeypatch, kind):
    """Simulated on the CPU: a kernel that cannot be launched, tried at the width of the widest source."""
    pytest.importorskip("triton")
    from triton.compiler.errors import CompilationError
    from triton.runtime.errors import OutOfResources

    from zoo_cli.objectives import segmented_triton

    class Gpu:
        type = "cuda"

    errors = {
        "no compiler": RuntimeError("Failed to find C compiler"),
        "no registers": OutOfResources(300_000, 200_000, "shared memory"),
        "invalid kernel": CompilationError("", ast.parse("x").body[0], "wrong type"),
    }
    tried = []

    def fails(logits, targets, offsets, *_):
        tried.append((logits.dtype, targets.dtype, tuple(logits.shape), offsets))
        raise errors[kind]

    ones = torch.ones
    monkeypatch.setattr(segmented_triton, "loss_and_gradient", fails)
    monkeypatch.setattr(torch, "ones", lambda *shape, **_: ones(shape))
    assert segmented._choose_implementation.__wrapped__(Gpu(), *PROBE) is segmented.loss_and_gradient
    assert tried == [(torch.bfloat16, torch.float16, (1, 1000), (0, 1000))]
