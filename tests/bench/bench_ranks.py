"""Training in two CPU processes of one thread each, over one process of one thread and over one of two.

    python -m tests.bench.bench_ranks       prints one JSON object

Steps of the loop on a batch in memory: forward, loss, backward, SGD; in two processes also batch norm over both halves
of the batch, gradients averaged, and the decision to go on. The three take turns, in processes that stay, so that what
else runs on the machine hits them alike; two idle while one works. Beside the rate, which needs idle cores to say
something, the processor time of all threads of all processes, which other programs hardly affect.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.bench import interleaved

STUDENT, BATCH = "mobilenet_v3_small", 64
PIXELS = (64, 96)
ROUNDS, STEPS = 5, 2
ONE, ONE_OF_TWO_THREADS, TWO = "one process", "one process, two threads", "two processes"


def main() -> None:
    """Print the images per second of each form, and the ratios round by round."""
    print(json.dumps([measure(pixels) for pixels in PIXELS]))


def measure(pixels: int) -> dict[str, Any]:
    """Rates and processor times, the medians of the rounds, and the ratios of two processes to the others."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    forms = {
        ONE: [_start(pixels, threads=1)],
        ONE_OF_TWO_THREADS: [_start(pixels, threads=2)],
        TWO: [_start(pixels, threads=1, RANK=rank, LOCAL_RANK=rank, **job) for rank in "01"],
    }
    rates: dict[str, list[float]] = {name: [] for name in forms}
    costs: dict[str, list[float]] = {name: [] for name in forms}
    load = os.getloadavg()[0]
    for round_number in range(-1, ROUNDS):  # the first one warms up
        for name, workers in forms.items():
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.write("go\n")
                worker.stdin.flush()
            times = [json.loads(worker.stdout.readline()) for worker in workers if worker.stdout is not None]
            if round_number >= 0:
                rates[name].append(BATCH / max(wall for wall, _ in times))
                costs[name].append(1000 * sum(processor for _, processor in times) / BATCH)
    for workers in forms.values():
        for worker in workers:
            worker.communicate()
    import torch

    return {
        "student": STUDENT,
        "pixels": pixels,
        "batch": BATCH,
        "device": interleaved.machine(torch.device("cpu"))["device"],
        "torch": torch.__version__,
        "load before": round(load, 1),
        "images per second": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "rate of two processes over": {n: interleaved.ratio(rates[TWO], rates[n]) for n in (ONE, ONE_OF_TWO_THREADS)},
        "processor ms per image": {name: round(statistics.median(values), 2) for name, values in costs.items()},
        "cost of two processes over": {n: interleaved.ratio(costs[TWO], costs[n]) for n in (ONE, ONE_OF_TWO_THREADS)},
    }


def _start(pixels: int, threads: int, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", **variables}
    command = [sys.executable, "-m", "tests.bench.bench_ranks", str(pixels)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def work(pixels: int) -> None:
    """At each line of the input, train on a share of the batch; print the seconds and processor seconds of a step."""
    import torch

    from tests.bench.bench_step import _student
    from zoo_cli import collectives, ranks
    from zoo_cli.objectives.supervised import Batch, Supervised
    from zoo_cli.training import loop
    from zoo_cli.training.training_config import LoopOptions

    ranks.start()
    device = torch.device("cpu")
    collectives.connect(device)
    student = _student(STUDENT, pixels, 20)
    rows = ranks.share(BATCH)[1]
    generator = torch.Generator().manual_seed(ranks.rank())
    images = torch.randn(rows, 3, pixels, pixels, generator=generator)
    batch = Batch(images, torch.randint(0, 20, (rows,), generator=generator))
    for _ in sys.stdin:
        times: list[tuple[float, float]] = []

        def stop(times: list[tuple[float, float]] = times) -> bool:
            times.append((time.perf_counter(), time.process_time()))
            return bool(collectives.greatest(0))

        options = LoopOptions(steps=STEPS + 2, lr=0.0, schedule="constant", log_every=0, checkpoint_every=0)
        loop.train(
            student,
            Supervised(),
            lambda _step: batch,
            options,
            device=device,
            seed=0,
            save=lambda _state: None,
            log=lambda _row: None,
            should_stop=stop,
        )
        print(json.dumps([(last - first) / STEPS for first, last in zip(times[0], times[-1], strict=True)]), flush=True)
    ranks.leave(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(int(sys.argv[1]))
    else:
        main()
