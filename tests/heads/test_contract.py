"""What must hold for every head and every pool of the tables."""

import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from zoo_cli import registry, specs
from zoo_cli.errors import ContractError, UsageError
from zoo_cli.heads.fitting import fit_heads, pool_heads
from zoo_cli.heads.standardise import Features
from zoo_cli.heads.target_labels import TargetLabels

from .simulated import classes_of, embedding, label, pool

Array = NDArray[Any]
Answers = tuple[Array, Array]

CLASSES = 4
SPECS = [f"head {name}" for name in registry.HEADS] + [f"pool {name}" for name in registry.POOLS]
# scikit-learn's solver stops at a tolerance.
CLOSE = {"head logistic": 2e-4}

every = pytest.mark.parametrize("spec", SPECS)


def answers(spec: str, arrays: list[Array], labels: Array, classes: int = CLASSES) -> Answers:
    """Probabilities (N, C) and leave-one-out probabilities (L, C); a head is that of the first array."""
    kind, name = spec.split()
    if kind == "pool":
        result = pool(name, arrays, labels, classes)
        return result.probabilities, result.leave_one_out
    (head,) = fit_heads(specs.resolve("head", name), [Features.of(arrays[0])], TargetLabels.of(labels, classes))
    return head.answer(arrays[0]), head.leave_one_out


def check_equal(spec: str, left: Answers, right: Answers, tolerance: float = 1e-8) -> None:
    for one, other in zip(left, right, strict=True):
        np.testing.assert_allclose(one, other, atol=max(tolerance, CLOSE.get(spec, 0)))


def task(
    counts: tuple[int, ...] = (5, 3, 6, 2), widths: tuple[int, ...] = (30, 7), kind: type = np.float64
) -> tuple[list[Array], Array]:
    truth = classes_of(80, CLASSES)
    return [embedding(truth, width, signal=0.7, kind=kind) for width in widths], label(truth, counts)


@functools.cache
def usual(spec: str) -> Answers:
    """The answers for the usual task, which many tests compare with those for a changed one."""
    return answers(spec, *task())


@every
@pytest.mark.parametrize("counts", [(5, 3, 6, 2), (1, 1, 1, 1), (4, 1, 3, 1), (5, 0, 4, 1), (2, 2, 0, 0)])
@pytest.mark.parametrize("widths", [(30, 7), (2, 3), (200, 9)])
def test_answers_are_distributions(spec: str, counts: tuple[int, ...], widths: tuple[int, ...]) -> None:
    arrays, labels = task(counts, widths)
    for probabilities in answers(spec, arrays, labels):
        assert probabilities.dtype == np.float64
        assert np.isfinite(probabilities).all()
        assert (probabilities >= 0).all()
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
        missing = np.array(counts) == 0
        assert (probabilities[:, missing] == 0).all()


@every
def test_order_of_samples_does_not_matter(spec: str) -> None:
    arrays, labels = task()
    order = np.random.default_rng(0).permutation(len(labels))
    whole, left_out = usual(spec)
    again, left_out_again = answers(spec, [x[order] for x in arrays], labels[order])
    places = np.flatnonzero(labels >= 0)
    rank = [list(places).index(row) for row in order[labels[order] >= 0]]
    check_equal(spec, (whole[order], left_out[rank]), (again, left_out_again))


@every
def test_numbers_of_classes_do_not_matter(spec: str) -> None:
    arrays, labels = task()
    renamed = np.array([2, 0, 3, 1])
    whole, left_out = usual(spec)
    again, left_out_again = answers(spec, arrays, np.where(labels >= 0, renamed[labels], -1))
    check_equal(spec, (whole, left_out), (again[:, renamed], left_out_again[:, renamed]))


@pytest.mark.parametrize("name", registry.POOLS)
def test_order_of_sources_does_not_matter(name: str) -> None:
    arrays, labels = task()
    check_equal(name, *(answers(f"pool {name}", order, labels) for order in (arrays, arrays[::-1])))


@every
def test_scale_and_shift_of_columns_do_not_matter(spec: str) -> None:
    arrays, labels = task()
    draw = np.random.default_rng(1)
    moved = [x * draw.uniform(0.1, 10, x.shape[1]) * 1e3 + draw.normal(size=x.shape[1]) for x in arrays]
    check_equal(spec, usual(spec), answers(spec, moved, labels))


@every
def test_rotation_of_standardised_features_does_not_matter(spec: str) -> None:
    """Fitted through `Features` with mean 0 and scale 1, so that the rotated columns are not standardised again."""
    arrays, labels = task()
    targets = TargetLabels.of(labels, CLASSES)
    draw = np.random.default_rng(2)
    plain, rotated = [], []
    for values in arrays:
        phi = Features.of(values).take(slice(None))
        turn, _ = np.linalg.qr(draw.normal(size=(phi.shape[1], phi.shape[1])))
        for group, rows in ((plain, phi), (rotated, phi @ turn)):
            group.append(Features(rows, np.zeros(rows.shape[1]), np.ones(rows.shape[1])))
    kind, name = spec.split()
    results = []
    for sources in (plain, rotated):
        heads = fit_heads(specs.resolve("head", name if kind == "head" else "ridge"), sources, targets)
        if kind == "head":
            results.append((heads[0].answer(sources[0].values), heads[0].leave_one_out))
        else:
            result = pool_heads(specs.resolve("pool", name), sources, heads, targets)
            results.append((result.probabilities, result.leave_one_out))
    check_equal(spec, *results)


@every
def test_storage_precision_does_not_matter(spec: str) -> None:
    arrays, labels = task(kind=np.float16)
    wide = answers(spec, [x.astype(np.float64) for x in arrays], labels)
    for kind in (np.float16, np.float32):
        check_equal(spec, answers(spec, [x.astype(kind) for x in arrays], labels), wide, 1e-10)


@every
def test_float32_is_close_to_float64(spec: str) -> None:
    arrays, labels = task()
    check_equal(spec, answers(spec, [x.astype(np.float32) for x in arrays], labels), usual(spec), 1e-4)


@every
def test_arrays_stay_and_layout_does_not_matter(spec: str) -> None:
    arrays, labels = task()
    before = [x.copy() for x in arrays], labels.copy()
    for array in (*arrays, labels):
        array.setflags(write=False)
    result = answers(spec, arrays, labels)
    for array, copy in zip(arrays, before[0], strict=True):
        np.testing.assert_array_equal(array, copy)
    np.testing.assert_array_equal(labels, before[1])
    check_equal(spec, answers(spec, [np.asfortranarray(x) for x in arrays], labels), result)


@every
def test_constant_columns_do_not_matter(spec: str) -> None:
    arrays, labels = task()
    constant = np.tile([0.0, 0.1, 1e4], (len(labels), 1))
    check_equal(spec, answers(spec, [np.hstack([x, constant]) for x in arrays], labels), usual(spec))


@every
def test_duplicate_columns_do_not_matter(spec: str) -> None:
    arrays, labels = task()
    check_equal(spec, answers(spec, [np.hstack([x, x]) for x in arrays], labels), usual(spec))


@every
def test_duplicate_and_constant_images_have_answers(spec: str) -> None:
    arrays, labels = task()
    arrays = [x.copy() for x in arrays]
    for x in arrays:
        x[40:] = x[40]
    for same in (arrays, [np.ones((80, 3)), np.zeros((80, 2))]):
        for probabilities in answers(spec, same, labels):
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)


@every
def test_clear_classes_are_answered_right(spec: str) -> None:
    truth = classes_of(200, CLASSES)
    arrays = [embedding(truth, width, signal=3.0) for width in (20, 60)]
    probabilities, left_out = answers(spec, arrays, label(truth, (5, 5, 5, 5)))
    assert (probabilities.argmax(axis=1) == truth).mean() > 0.95
    assert left_out.shape == (20, CLASSES)


@every
def test_one_label_per_class_has_a_reason(spec: str) -> None:
    arrays, labels = task((1, 1, 1, 0))
    kind, name = spec.split()
    sources, targets = [Features.of(x) for x in arrays], TargetLabels.of(labels, CLASSES)
    heads = fit_heads(specs.resolve("head", name if kind == "head" else "ridge"), sources, targets)
    assert targets.missing.tolist() == [3]
    for head in heads:
        assert (head.nll, head.accuracy, head.reason) == (None, None, "one_label_per_class")
        assert head.lam == (None if spec == "head ncm" else 1.0)
        assert head.temperature == (1.0 if spec == "head logistic" else 0.1)
    result = pool_heads(specs.resolve("pool", name if kind == "pool" else "product"), sources, heads, targets)
    assert (result.nll, result.accuracy, result.reason) == (None, None, "one_label_per_class")
    if spec != "pool best":
        assert result.weights.tolist() == [0.5, 0.5]


@every
def test_a_single_label_among_others_is_not_judged(spec: str) -> None:
    arrays, labels = task((4, 1, 3, 1))
    _, left_out = answers(spec, arrays, labels)
    judged = np.isin(labels[labels >= 0], [0, 2])
    own = left_out[np.arange(len(left_out)), labels[labels >= 0]][judged]
    kind, name = spec.split()
    if kind == "pool":
        nll = pool(name, arrays, labels, CLASSES).nll
    else:
        sources = [Features.of(arrays[0])]
        nll = fit_heads(specs.resolve("head", name), sources, TargetLabels.of(labels, CLASSES))[0].nll
    assert nll == pytest.approx(-np.log(np.maximum(own, 1e-9)).mean(), rel=1e-6)


@every
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_value_is_an_error_with_its_position(spec: str, value: float) -> None:
    arrays, labels = task()
    arrays[0][7, 3] = value
    with pytest.raises(ContractError, match="row 7, column 3"):
        answers(spec, arrays, labels)


@every
def test_mismatched_arrays_are_an_error(spec: str) -> None:
    arrays, labels = task()
    bad: list[tuple[list[Array], Array]] = [
        ([arrays[0][:-1], arrays[1]], labels),
        (arrays, labels[:-1]),
        (arrays, labels[:, None]),
        (arrays, labels.astype(np.float64)),
        (arrays, np.where(labels == 0, CLASSES, labels)),
        (arrays, np.where(labels == 0, -2, labels)),
        ([arrays[0][0], arrays[1]], labels),
        ([arrays[0].astype(str), arrays[1]], labels),
    ]
    for inputs, target in bad:
        with pytest.raises(ContractError):
            answers(spec, inputs, target)


@every
@pytest.mark.parametrize("counts", [(5, 0, 0, 0), (0, 0, 0, 0)])
def test_fewer_than_two_classes_is_a_usage_error(spec: str, counts: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match="of 4 classes have a labelled image"):
        answers(spec, *task(counts))


def test_no_source_is_a_usage_error() -> None:
    targets = TargetLabels.of(task()[1], CLASSES)
    with pytest.raises(UsageError, match="no source"):
        fit_heads(specs.resolve("head", "ridge"), [], targets)
    for name in registry.POOLS:
        with pytest.raises(UsageError, match="no source"):
            pool_heads(specs.resolve("pool", name), [], [], targets)


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("head", "ridge:lam=0", "lam=0 is not positive"),
        ("head", "ridge:T=-1", "T=-1 is not positive"),
        ("head", "ncm:T=inf", "T=inf is not positive and finite"),
        ("head", "logistic:lam=-2", "lam=-2 is not positive"),
        ("pool", "kernel:lam=0", "lam=0 is not positive"),
        ("pool", "spread:k=0", "k=0 is below 1"),
        ("pool", "product:a=1", "a=1 is not between 0 and 1"),
    ],
)
def test_wrong_parameters_are_usage_errors(kind: str, spec: str, message: str) -> None:
    arrays, labels = task()
    head, chosen = (spec, "kernel") if kind == "head" else ("ridge", spec)
    with pytest.raises(UsageError, match=message):
        pool(chosen, arrays, labels, CLASSES, head=head)


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0]])
def test_wrong_weights_are_an_error(weights: list[float]) -> None:
    arrays, labels = task()
    for name in registry.POOLS:
        with pytest.raises(ContractError):
            pool(name, arrays, labels, CLASSES, weights=np.array(weights))


@pytest.mark.parametrize("name", ["kernel", "logmean", "spread", "product", "best"])
def test_a_source_of_weight_zero_takes_no_part(name: str) -> None:
    arrays, labels = task()
    alone = pool(name, arrays[:1], labels, CLASSES, weights=np.array([1.0]))
    both = pool(name, arrays, labels, CLASSES, weights=np.array([3.0, 0.0]))
    np.testing.assert_allclose(both.probabilities, alone.probabilities, atol=1e-10)
    np.testing.assert_allclose(both.leave_one_out, alone.leave_one_out, atol=1e-10)


class Loading:
    """A sequence of sources that counts how often each is asked for."""

    def __init__(self, arrays: list[Array]):
        self.arrays = arrays
        self.loads = 0

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, position: int) -> Features:
        self.loads += 1
        return Features.of(self.arrays[position])


def test_sources_may_be_loaded_one_at_a_time() -> None:
    arrays, labels = task()
    targets = TargetLabels.of(labels, CLASSES)
    sources: Any = Loading(arrays)
    heads = fit_heads(specs.resolve("head", "ridge"), sources, targets)
    assert sources.loads == 2
    for name, loads in (("logmean", 2), ("kernel", 4), ("best", 1)):
        sources.loads = 0
        result = pool_heads(specs.resolve("pool", name), sources, heads, targets)
        assert sources.loads == loads
        np.testing.assert_array_equal(result.probabilities, pool(name, arrays, labels, CLASSES).probabilities)


@settings(deadline=None, max_examples=8)
@given(data=st.data())
def test_any_task_has_distributions(data: st.DataObject) -> None:
    check_any_task(data)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_many_tasks_have_distributions(data: st.DataObject) -> None:
    check_any_task(data)


def check_any_task(data: st.DataObject) -> None:
    size, classes = data.draw(st.integers(4, 30)), data.draw(st.integers(2, 5))
    draw = np.random.default_rng(data.draw(st.integers(0, 1000)))
    labels = draw.integers(-1, classes, size)
    labels[:2] = 0, 1
    widths = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    levels = data.draw(st.sampled_from([2, 1000]))
    arrays = [draw.integers(0, levels, (size, width)).astype(np.float32) for width in widths]
    for name in registry.POOLS:
        result = pool(name, arrays, labels, classes)
        for probabilities in (result.probabilities, result.leave_one_out):
            assert (probabilities >= 0).all()
            np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-9)
        assert result.weights.sum() == pytest.approx(1)


@every
def test_a_class_without_labels_changes_nothing(spec: str) -> None:
    arrays, labels = task()
    whole, left_out = usual(spec)
    for number in (0, 4):
        moved = np.where(labels >= number, labels + 1, labels)
        wide, wide_left_out = answers(spec, arrays, moved, CLASSES + 1)
        assert (wide[:, number] == 0).all()
        others = np.delete(wide, number, axis=1), np.delete(wide_left_out, number, axis=1)
        check_equal(spec, others, (whole, left_out), 1e-12)
