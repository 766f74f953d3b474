"""Soups: the plain average of weights, whose order does not matter."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from zoo_cli.errors import ContractError, UsageError
from zoo_cli.models.soup import soup


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


def test_a_soup_of_one_is_itself_bit_for_bit_and_in_memory_of_its_own() -> None:
    only = states(1)[0]
    made = soup([only])
    assert list(made) == list(only)
    assert all(torch.equal(made[name], entry) and made[name].dtype == entry.dtype for name, entry in only.items())
    assert all(made[name].data_ptr() != entry.data_ptr() for name, entry in only.items())


def test_a_soup_of_equals_is_each_of_them_bit_for_bit() -> None:
    one = states(1)[0]
    made = soup([one, one, one])
    assert all(torch.equal(made[name], entry) for name, entry in one.items())


def test_floating_entries_are_averaged_and_counters_are_the_firsts() -> None:
    given = states(3)
    made = soup(given)
    for name, entry in made.items():
        if name.endswith("num_batches_tracked"):
            assert int(entry) == 1
            assert entry.dtype == torch.int64
        else:
            true = sum(state[name].double() for state in given) / 3
            assert torch.equal(entry, true.float())
    assert "1.running_var" in made
    network(1).load_state_dict(made)


def test_the_order_of_students_matters_to_no_more_than_rounding() -> None:
    given = states(4)
    made = soup(given)
    for order in itertools.permutations(given):
        again = soup(order)
        for name, entry in made.items():
            if entry.is_floating_point():
                torch.testing.assert_close(again[name], entry, rtol=1e-6, atol=1e-7)


def test_sums_do_not_overflow_a_narrow_dtype() -> None:
    given = [{"w": torch.full((2,), value, dtype=torch.float16)} for value in (57344.0, 49152.0)]
    made = soup(given)["w"]
    assert made.dtype == torch.float16
    assert made.tolist() == [53248.0, 53248.0]


def test_what_is_given_is_not_changed() -> None:
    given = states(2)
    before = [{name: entry.clone() for name, entry in state.items()} for state in given]
    for entry in soup(given).values():
        entry.zero_()
    for state, kept in zip(given, before, strict=True):
        assert all(torch.equal(entry, kept[name]) for name, entry in state.items())


def test_weights_shared_by_two_names_stay_equal() -> None:
    given = [{"a": tensor, "b": tensor} for tensor in (torch.tensor([1.0, 2.0]), torch.tensor([4.0, 5.0]))]
    made = soup(given)
    assert torch.equal(made["a"], torch.tensor([2.5, 3.5]))
    assert torch.equal(made["b"], made["a"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": torch.zeros(1)}, 'student 2 of the soup: "extra" is not in it and in the first one'),
        ({"3.bias": torch.zeros(6)}, r'"3.bias" differs from the first one: 5 float32 and 6 float32'),
        ({"3.bias": torch.zeros(5, dtype=torch.float64)}, "5 float32 and 5 float64"),
        ({"1.num_batches_tracked": torch.zeros(1)}, "a number int64 and 1 float32"),
    ],
)
def test_networks_that_are_not_alike_make_no_soup(change: dict[str, Tensor], words: str) -> None:
    one, other = states(2)
    with pytest.raises(ContractError, match=words):
        soup([one, {**other, **change}])


def test_a_soup_needs_a_student() -> None:
    with pytest.raises(UsageError, match="no students"):
        soup([])
