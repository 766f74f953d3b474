"""Model soups: the plain average of weights, in any order."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.soup import average_states


def network(seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    for entry in module.state_dict().values():
        if entry.is_floating_point():
            entry.copy_(torch.randn(entry.shape, generator=generator))
        else:
            entry.fill_(seed)
    return module


def states(count: int = 3) -> list[dict[str, Tensor]]:
    return [network(seed).state_dict() for seed in range(1, count + 1)]


def test_a_soup_of_one_is_a_bit_equal_copy() -> None:
    only = states(1)[0]
    average = average_states([only])
    assert list(average) == list(only)
    assert all(torch.equal(average[name], entry) and average[name].dtype == entry.dtype for name, entry in only.items())
    assert all(average[name].data_ptr() != entry.data_ptr() for name, entry in only.items())


def test_a_soup_of_equals_is_bit_equal() -> None:
    state = states(1)[0]
    average = average_states([state, state, state])
    assert all(torch.equal(average[name], entry) for name, entry in state.items())


def test_floats_are_averaged_and_counters_kept() -> None:
    inputs = states(3)
    average = average_states(inputs)
    for name, entry in average.items():
        if name.endswith("num_batches_tracked"):
            assert int(entry) == 1
            assert entry.dtype == torch.int64
        else:
            expected = sum(state[name].double() for state in inputs) / 3
            assert torch.equal(entry, expected.float())
    assert "1.running_var" in average
    network(1).load_state_dict(average)


def test_order_changes_only_rounding() -> None:
    inputs = states(4)
    average = average_states(inputs)
    for order in itertools.permutations(inputs):
        again = average_states(order)
        for name, entry in average.items():
            if entry.is_floating_point():
                torch.testing.assert_close(again[name], entry, rtol=1e-6, atol=1e-7)


def test_sums_do_not_overflow_a_narrow_dtype() -> None:
    inputs = [{"w": torch.full((2,), value, dtype=torch.float16)} for value in (57344.0, 49152.0)]
    average = average_states(inputs)["w"]
    assert average.dtype == torch.float16
    assert average.tolist() == [53248.0, 53248.0]


def test_inputs_are_unchanged() -> None:
    inputs = states(2)
    before = [{name: entry.clone() for name, entry in state.items()} for state in inputs]
    for entry in average_states(inputs).values():
        entry.zero_()
    for state, copy in zip(inputs, before, strict=True):
        assert all(torch.equal(entry, copy[name]) for name, entry in state.items())


def test_shared_weights_stay_equal() -> None:
    inputs = [{"a": tensor, "b": tensor} for tensor in (torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]))]
    average = average_states(inputs)
    assert torch.equal(average["a"], torch.tensor([2.5, 3.5]))
    assert torch.equal(average["b"], average["a"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": torch.zeros(1)}, 'student 2 of the soup: "extra" is not both in it and in the first one'),
        ({"3.bias": torch.zeros(6)}, r'"3.bias" differs from the first one: 5 float32 and 6 float32'),
        ({"3.bias": torch.zeros(5, dtype=torch.float64)}, "5 float32 and 5 float64"),
        ({"1.num_batches_tracked": torch.zeros(1)}, "a number int64 and 1 float32"),
    ],
)
def test_different_networks_are_refused(change: dict[str, Tensor], words: str) -> None:
    first, other = states(2)
    with pytest.raises(ContractError, match=words):
        average_states([first, {**other, **change}])


def test_a_soup_needs_a_student() -> None:
    with pytest.raises(UsageError, match="no students"):
        average_states([])
