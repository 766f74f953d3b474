"""Streams and events of a pretended card: an operation that uses a tensor another stream wrote must have waited.

Work runs at once, in the order of the calls, so a missing wait would not show in the values. Each tensor knows the
stream and the time of its last write, and each stream up to which time of every other stream it has waited.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch


class UnorderedStreams(RuntimeError):
    """A stream uses what another one wrote without waiting for it: on a card, a race."""


class Streams:
    """The streams of a card. `current` is that of this thread; 0 is the default stream."""

    def __init__(self) -> None:
        self.time = 0
        self.seen: dict[int, dict[int, int]] = {0: {}}
        self._thread = threading.local()

    @property
    def current(self) -> int:
        return getattr(self._thread, "stream", 0)

    @contextlib.contextmanager
    def entered(self, stream: int) -> Iterator[None]:
        before = self.current
        self._thread.stream = stream
        try:
            yield
        finally:
            self._thread.stream = before

    def stamp(self) -> tuple[int, int]:
        """The stream and the time of a write that happens now."""
        self.time += 1
        return self.current, self.time

    def check(self, stream: int, written: int, what: str) -> None:
        """Raise UnorderedStreams if the current stream has not waited for this write."""
        if stream != self.current and self.seen[self.current].get(stream, 0) < written:
            raise UnorderedStreams(f"{what}: stream {self.current} has not waited for stream {stream}")

    def wait(self, stream: int, other: int, time: int, seen: dict[int, int]) -> None:
        """Let `stream` wait for all that `other`, which had waited for `seen`, had done at `time`."""
        mine = self.seen[stream]
        for key, value in [*seen.items(), (other, time)]:
            mine[key] = max(mine.get(key, 0), value)

    def synchronize(self) -> None:
        """The host has waited for everything."""
        for stream in self.seen:
            for other in self.seen:
                self.wait(stream, other, self.time, {})


class PretendedStream:
    """torch.cuda.Stream."""

    streams: Streams

    def __init__(self, device: Any = None, *, number: int | None = None):
        self.device = torch.device("cuda", 0) if device is None else torch.device(device)
        self.number = max(self.streams.seen) + 1 if number is None else number
        self.streams.seen.setdefault(self.number, {})

    def wait_event(self, event: "PretendedEvent") -> None:
        if event.recorded is not None:
            self.streams.wait(self.number, *event.recorded)

    def wait_stream(self, stream: "PretendedStream") -> None:
        self.streams.wait(self.number, stream.number, self.streams.time, self.streams.seen[stream.number])

    def record_event(self, event: "PretendedEvent | None" = None) -> "PretendedEvent":
        event = PretendedEvent() if event is None else event
        event.record(self)
        return event

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def query(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PretendedStream) and other.number == self.number

    def __hash__(self) -> int:
        return self.number


class PretendedEvent:
    """torch.cuda.Event."""

    def __init__(self, **_: bool):
        self.recorded: tuple[int, int, dict[int, int]] | None = None

    def record(self, stream: PretendedStream | None = None) -> None:
        stream = torch.cuda.current_stream() if stream is None else stream
        self.recorded = (stream.number, stream.streams.time, dict(stream.streams.seen[stream.number]))

    def wait(self, stream: PretendedStream | None = None) -> None:
        (torch.cuda.current_stream() if stream is None else stream).wait_event(self)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: "PretendedEvent") -> float:
        return 1.0
