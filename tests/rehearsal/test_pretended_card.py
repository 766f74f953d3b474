"""The pretended card behaves as a card where the rehearsal depends on it: planted faults are caught."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from .pretended_card import Card, WrongDevice, pretend_card
from .pretended_streams import UnorderedStreams


@pytest.fixture
def card() -> Iterator[Card]:
    with pretend_card(cards=2) as pretended:
        yield pretended


def ones(*shape: int, device: str = "cuda") -> torch.Tensor:
    return torch.ones(*shape, device=device)


def waits(card: Card) -> list[str]:
    return [what for what, _ in card.waits.elements()]


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize(
    "mix",
    [
        lambda: ones(3) + torch.ones(3),
        lambda: ones(3) + ones(3, device="cuda:1"),
        lambda: torch.ones(3)[torch.zeros(1, dtype=torch.long, device="cuda")],
        lambda: torch.stack([ones(3).sum(), torch.zeros(())]),
        lambda: nn.Linear(3, 2).to("cuda")(torch.ones(1, 3)),
        lambda: nn.functional.cross_entropy(ones(2, 3), torch.zeros(2, dtype=torch.long)),
    ],
)
def test_mixed_devices_are_caught(mix: Callable[[], object]) -> None:
    with pytest.raises(WrongDevice):
        mix()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("use", [lambda x: x.numpy(), lambda x: x.__array__()])
def test_values_are_read_only_through_a_copy(use: Callable[[torch.Tensor], object]) -> None:
    with pytest.raises(TypeError, match="can't convert cuda:0"):
        use(ones(3))
    assert ones(3).cpu().numpy().tolist() == [1, 1, 1]


@pytest.mark.usefixtures("card")
def test_card_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        ones(3, device="cuda:2")


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        (lambda x: x.sum().item(), ["item or bool"]),
        (lambda x: bool(x.sum() > 0), ["item or bool"]),
        (lambda x: x[x > 0], ["boolean mask as index"]),
        (lambda x: x[torch.tensor([0])], ["index of the host"]),
        (lambda x: x.nonzero(), ["nonzero"]),
        (lambda x: x.tolist(), ["tolist"]),
        (lambda x: x.cpu(), ["blocking copy, cuda to cpu"]),
        (lambda x: torch.ones(3).to(x.device), ["blocking copy, cpu to cuda"]),
        (lambda x: torch.ones(3).to(x.device, non_blocking=True), ["copy of pageable memory, cpu to cuda"]),
        (lambda x: torch.ones(3).pin_memory().to(x.device, non_blocking=True), []),
        (lambda x: torch.empty(4, pin_memory=True)[1:].to(x.device, non_blocking=True), []),
        (lambda x: torch.empty(3, pin_memory=True).copy_(x, non_blocking=True), []),
        (lambda x: x.view(1, 3).sum(1), []),
        (lambda _: torch.cuda.synchronize(), ["synchronize"]),
    ],
)
def test_waits_are_counted(card: Card, act: Callable[[torch.Tensor], object], expected: list[str]) -> None:
    x = ones(3)
    card.reset_counts()
    act(x)
    assert waits(card) == expected


@pytest.mark.usefixtures("card")
def test_training_step_gives_the_cpus_bits() -> None:
    def train(device: str) -> list[torch.Tensor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
        images = torch.randn(2, 3, 8, 8).to(device)
        network.to(device)
        optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, fused=True)
        for _ in range(2):
            optimiser.zero_grad()
            network(images).logsumexp(1).sum().backward()
            optimiser.step()
        assert all(p.grad is not None and p.grad.device.type == device for p in network.parameters())
        return [tensor.cpu() for tensor in network.state_dict().values()]

    for ours, expected in zip(train("cuda"), train("cpu"), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("card")
def test_autocast_computes_in_bfloat16() -> None:
    layer = nn.Linear(3, 2).to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        logits = layer(ones(1, 3))
        assert logits.dtype == torch.bfloat16
        assert nn.functional.cross_entropy(logits, torch.zeros(1, dtype=torch.long, device="cuda")).dtype == torch.float


@pytest.mark.usefixtures("card")
def test_threads_see_the_card() -> None:
    made = []
    thread = threading.Thread(target=lambda: made.append(ones(3) + 1))
    thread.start()
    thread.join()
    assert made[0].is_cuda


@pytest.mark.usefixtures("card")
def test_missing_wait_between_streams_is_caught() -> None:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        x = ones(3) * 2
    with pytest.raises(UnorderedStreams):
        x + 1
    event = side.record_event()
    torch.cuda.current_stream().wait_event(event)
    assert (x + 1).tolist() == [3, 3, 3]
    with torch.cuda.stream(side):
        x.add_(1)
    with pytest.raises(UnorderedStreams):
        x.view(3, 1).sum()


def test_memory_is_counted_and_given_back() -> None:
    with pretend_card(free=1000) as card:
        x = ones(100)
        y = x.view(10, 10)
        assert torch.cuda.mem_get_info()[0] == 600
        with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate 800 bytes"):
            ones(200)
        del x
        assert card.allocated == [400]
        del y
        assert card.allocated == [0]
        assert torch.cuda.max_memory_allocated() == 400


def test_nothing_is_left_behind() -> None:
    before = torch.cuda.is_available(), torch.empty, threading.Thread.run, torch.Tensor.pin_memory
    with pretend_card():
        pass
    assert before == (torch.cuda.is_available(), torch.empty, threading.Thread.run, torch.Tensor.pin_memory)
