"""The first minutes on a card, in two commands of less than ten minutes; one JSON object a line.

    python3 -m tests.gpu.first correctness [cuda|cpu] [small]
    python3 -m tests.gpu.first figures     [cuda|cpu] [small]

`correctness`: the tests that need a card, the kernel against its definition (also under compute-sanitizer where it is
installed), every training command beside the CPU's, the three commands of the README, what the host waits for.
`figures`: images a second beside the model alone, peak memory, graphs, and the benchmarks with their targets.
`small` is a size for a CPU, to try the commands themselves. A part that fails is reported, and the others go on.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator

import torch

from tests.gpu import correctness, figures
from tests.gpu.finding import Finding, Setting

MINUTES = 9.5
PARTS: dict[str, tuple[Callable[[Setting], Iterator[Finding]], ...]] = {
    "correctness": (
        correctness.environment,
        correctness.kernel,
        correctness.commands,
        correctness.readme_commands,
        correctness.waits,
        correctness.gpu_tests,
    ),
    "figures": (correctness.environment, figures.rates, figures.benchmarks),
}


def main(words: list[str]) -> None:
    """Run the parts of a command, each within the time that is left."""
    device = torch.device("cpu" if "cpu" in words else "cuda")
    setting = Setting(device, small="small" in words, deadline=time.monotonic() + 60 * MINUTES)
    for part in PARTS[words[0]]:
        start = time.monotonic()
        try:
            for finding in part(setting):
                print(json.dumps({"part": part.__name__, **finding}), flush=True)
        except Exception:  # a part that fails must not stop the others: the minutes on a card are few
            print(json.dumps({"part": part.__name__, "error": traceback.format_exc()[-1500:]}), flush=True)
        print(json.dumps({"part": part.__name__, "seconds": round(time.monotonic() - start, 1)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
