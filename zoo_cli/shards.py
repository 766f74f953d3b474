"""A job's share of the parts of a stage, where several jobs share the work and do not know of one another.

Parts come from the manifest alone, so any number of jobs makes the same files: a share may be done again, in any order,
and beside shares of another number of jobs.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from zoo_cli.errors import UsageError

AUTO = "auto"
_HINT = "expected I/N, job I of N, from 1/N to N/N; or auto"


@dataclass(frozen=True)
class Shard:
    """The share of job `index`, from 1, of `count` jobs."""

    index: int = 1
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def is_whole(self) -> bool:
        """Whether there is no other job."""
        return self.count == 1

    def takes(self, position: int) -> bool:
        """Whether a part belongs to this job, by its position from 0 among all planned parts, finished or not."""
        return position % self.count == self.index - 1


WHOLE = Shard()


def parse_shard(text: str | None, environment: Mapping[str, str] = os.environ) -> Shard:
    """The shard of a text such as 2/8, or with "auto" of the variables of torchrun and Slurm; None: everything.

    Raises UsageError for another text, and where no job has set the variables.
    """
    if text is None:
        return WHOLE
    if text == AUTO:
        return _read_environment(environment)
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f'--shard "{text}"', _HINT)
    return Shard(int(match[1]), int(match[2]))


def _read_environment(environment: Mapping[str, str]) -> Shard:
    """The place of this process among the tasks of an array, each of which may have several processes."""
    try:
        tasks, processes = _read_array(environment), _read_processes(environment)
    except ValueError as error:
        raise UsageError(f"--shard auto: a variable of the job is not a number: {error}", _HINT) from None
    if tasks is None and processes is None:
        raise UsageError("--shard auto finds neither torchrun's nor Slurm's variables", "write --shard I/N: job I of N")
    task, task_count = tasks or (0, 1)
    process, process_count = processes or (0, 1)
    if not (0 <= task < task_count and 0 <= process < process_count):
        raise UsageError("--shard auto: the variables of the job contradict one another", "write --shard I/N")
    return Shard(task * process_count + process + 1, task_count * process_count)


def _read_array(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The position of a task in a Slurm array, and its number of tasks. Raises UsageError for an array with gaps."""
    if "SLURM_ARRAY_TASK_ID" not in environment:
        return None
    number = int(environment["SLURM_ARRAY_TASK_ID"])
    first = int(environment.get("SLURM_ARRAY_TASK_MIN", number))
    last = int(environment.get("SLURM_ARRAY_TASK_MAX", number))
    step = max(1, int(environment.get("SLURM_ARRAY_TASK_STEP", 1)))
    count = int(environment.get("SLURM_ARRAY_TASK_COUNT", 1))
    if (last - first) // step + 1 != count or (number - first) % step:
        raise UsageError(
            f"--shard auto: an array of {count} tasks from {first} to {last} has gaps",
            "submit it as --array=1-N, or write --shard I/N",
        )
    return (number - first) // step, count


def _read_processes(environment: Mapping[str, str]) -> tuple[int, int] | None:
    """The rank of a process and their number: of torchrun, else of a step that srun started.

    A batch script itself is one process, however many its allocation is for.
    """
    for rank, count in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")):
        if rank in environment and count in environment:
            return int(environment[rank]), int(environment[count])
    return None
