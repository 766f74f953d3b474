"""The training loop of every student and objective: SGD, a schedule, checkpoints, a way to stop.

It knows no files: it passes states and rows to callbacks, and asks one whether to stop. On a CPU, a run resumed from
any of its states ends with the bits of an uninterrupted one, at an equal number of threads.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from zoo_cli import collectives, device_errors, devices, ranks
from zoo_cli.errors import ContractError, ZooError
from zoo_cli.guard import guarded
from zoo_cli.models.global_batch_norm import normalising_globally
from zoo_cli.objectives.supervised import Batch, Objective
from zoo_cli.training.batches_ahead import BatchesAhead
from zoo_cli.training.checkpoints import CheckpointWriter, State, copy_state
from zoo_cli.training.schedules import scheduled_rate
from zoo_cli.training.sgd import Sgd
from zoo_cli.training.step_graph import StepGraph
from zoo_cli.training.step_start import StepStart, take_step
from zoo_cli.training.training_config import LoopOptions


def learning_rate(options: LoopOptions, step: int) -> float:
    """The learning rate of a step, counted from 0."""
    return scheduled_rate(options.schedule, options.lr, step, options.steps, options.warmup)


@dataclass(frozen=True)
class Outcome:
    """The number of steps done, and whether `should_stop` ended the run before its last."""

    step: int
    stopped: bool


class NonFinite(ZooError):
    """Training has diverged: at `step`, counted from 1 as in the log, `what` was infinite or NaN."""

    def __init__(self, step: int, what: str = "the loss"):
        super().__init__(f"{what} is not finite at step {step}", "lower --lr, or raise --warmup")
        self.step = step
        self.what = what


def train(
    student: nn.Module,
    objective: Objective,
    batch_fn: Callable[[int], Batch],
    options: LoopOptions,
    *,
    device: torch.device,
    seed: int,
    resume: State | None = None,
    save: Callable[[State], None],
    log: Callable[[dict[str, float]], None],
    should_stop: Callable[[], bool],
    channels_last: bool = False,
    graph: bool = False,
) -> Outcome:
    """Train `student` in place, and the objective's own parameters with it, both moved to `device`.

    `student(images)` returns the features that its head reads, and its logits; it is left in train mode.
    `batch_fn(step)`, from 0, depends on the step alone; a thread may call it before its step. `should_stop` is called
    after each step. `save`, on a GPU called by a thread, gets a state every `checkpoint_every` steps, at a stop, and at
    the end; its trained values are finite. `log` gets, every `log_every` steps and at the end, `step` (steps done), the
    means since the last row of `loss` and of the objective's terms, and the `lr` of the last step. Parameters that need
    no gradient do not change. Dropout draws from a random state made from `seed`; that of the caller is not touched.
    `channels_last`: the memory order of images and convolutions on a CPU; it is always that of a GPU. `graph`: repeat
    the step as a CUDA graph, see `StepGraph`.

    Raises NonFinite, with the parameters as before that step; ContractError if `resume` belongs to other networks;
    ZooError if the GPU runs out of memory in a step.
    """
    trainer = Trainer(student, objective, options, device, channels_last=channels_last, graph=graph)
    ahead, start = BatchesAhead(batch_fn, device, options.steps, trainer.order), StepStart(device)
    with step_context(options, device, seed), CheckpointWriter(save) as writer, ahead:
        done = 0 if resume is None else trainer.restore(resume, seed)
        collectives.copy_from_first(trainer.live().values())
        for step in range(done, options.steps):
            done = step + 1
            if not ranks.is_first():
                # Dropout of its own, from the step alone; that of rank 0 continues one stream, which checkpoints hold.
                _seed_generators(device, f"training {seed} step {step} rank {ranks.rank()}")
            with device_errors.memory_advice(f"step {done}"):
                take_step(trainer, step, ahead, start)
            stopped = done < options.steps and should_stop()
            finished = done == options.steps
            if finished or _due(done, options.log_every):
                log(trainer.row(done))
            if finished or stopped or _due(done, options.checkpoint_every):
                writer.save(trainer.state(done))
            if stopped:
                return Outcome(done, stopped=True)
    with torch.no_grad():
        objective.finish(student)
    if device.type == "cpu":
        student.to(memory_format=torch.contiguous_format)
    return Outcome(done, stopped=False)


class Trainer:
    """The state of training, and its steps. `order`: the memory order of images."""

    def __init__(
        self,
        student: nn.Module,
        objective: Objective,
        options: LoopOptions,
        device: torch.device,
        *,
        channels_last: bool = False,
        graph: bool = False,
    ):
        """Move student and objective to the device, in train mode. `channels_last`, `graph`: see `train`."""
        with guarded("the student cannot be moved or set to train", "fix its train"):
            student.to(device).train()
        objective.to(device).train()
        self.order = torch.preserve_format
        if channels_last or device.type == "cuda":
            self.order = torch.channels_last
            student.to(memory_format=torch.channels_last)
        self.student = student
        self.graph = StepGraph(device) if graph else None
        self.objective = objective
        self.options = options
        self.device = device
        trained = {name: p for name, p in _named(student, objective, "named_parameters") if p.requires_grad}
        self.momentum: dict[str, Tensor] = {}
        if options.momentum:
            # Buffers of zeros give the same first step as none, and can be saved.
            self.momentum = {f"momentum/{name}": torch.zeros_like(parameter) for name, parameter in trained.items()}
        parameters: list[Tensor] = [*trained.values()]
        self.optimiser = Sgd(
            parameters,
            [*self.momentum.values()] or [None] * len(parameters),
            torch.tensor(options.lr, device=device) if device.type == "cuda" else options.lr,
            options.momentum,
            options.weight_decay,
            options.nesterov,
            found_inf=torch.zeros((), device=device),
        )
        self.trained = trained
        self.healthy = torch.ones((), device=device)
        self.row_start = 0
        self.names: list[str] = []
        self.sums = torch.zeros(0, dtype=torch.float64, device=device)
        self.changes_weights = False

    def step(self, step: int, batch: Batch) -> None:
        """The step numbered `step` from 0."""
        self.optimiser.set_rate(learning_rate(self.options, step))
        if self.graph is None:
            self.compute(batch)
        else:
            self.graph.run(self.compute, batch)
        with torch.no_grad():
            self.objective.after_step(self.student, step + 1)
        self.changes_weights = False

    def compute(self, batch: Batch) -> None:
        """Loss, gradients and the optimiser's update, in a form that `StepGraph` can repeat."""
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.options.precision == "bf16"),
            normalising_globally(),
        ):
            loss, terms = self.objective.loss(self.student, batch)
        self.count(*_average(loss.detach(), terms))
        self.optimiser.zero_grad()
        with guarded("the backward pass of the student fails", "fix its autograd functions"):
            torch.autograd.backward(loss)
        collectives.average_gradients(self.trained.values())
        self.changes_weights = True
        self.optimiser.step()

    def count(self, loss: Tensor, terms: dict[str, Tensor]) -> None:
        """Add the values of a step to the sums of the row, on the device; after a non-finite loss, count no step.

        The first sum is the number of finite steps, from which the first bad one is known. On a GPU it is read with
        the next row or checkpoint, and the optimiser skips the steps until then.
        """
        self.healthy *= torch.isfinite(loss)
        torch.eq(self.healthy, 0, out=self.optimiser.found_inf)
        values = {"healthy": self.healthy, "loss": loss, **terms}
        if not len(self.sums):
            self.names = list(values)
            self.sums = self.sums.new_zeros(len(values))
        self.sums += torch.stack([value.float() for value in values.values()])
        if _reading_is_free(self.device) and not self.healthy:
            self.read()

    def read(self) -> dict[str, float]:
        """The sums since the last row. Raises NonFinite for the first step with a non-finite loss."""
        *values, healthy = torch.cat([self.sums, self.healthy[None]]).tolist()  # one wait for a GPU
        sums = dict(zip(self.names, values, strict=True))
        if not healthy:
            raise NonFinite(self.row_start + int(sums["healthy"]) + 1)
        return sums

    def row(self, done: int) -> dict[str, float]:
        """The row of the log after `done` steps, the means since the last one."""
        sums = self.read()
        steps = sums.pop("healthy")
        self.row_start = done
        self.sums.zero_()
        means = self.objective.summarize_means({name: value / steps for name, value in sums.items()})
        return {"step": done, **means, "lr": learning_rate(self.options, done - 1)}

    def live(self) -> dict[str, Tensor]:
        """The tensors that a step changes, by name, not copied."""
        return dict(_named(self.student, self.objective, "state_dict")) | self.momentum

    def state(self, done: int) -> State:
        """A copy of everything after `done` steps. Raises NonFinite if a trained value is not finite."""
        self.read()
        trained = {name: tensor for name, tensor in (self.trained | self.momentum).items() if tensor.numel()}
        for name, finite in zip(trained, are_finite(list(trained.values())), strict=True):
            if not finite:
                raise NonFinite(done, name)
        tensors = self.live() | {"rng/cpu": torch.get_rng_state(), "log/sums": self.sums}
        if self.device.type == "cuda":
            tensors["rng/cuda"] = torch.cuda.get_rng_state(self.device)
        log = {"row_start": self.row_start, "names": list(self.names)}
        return copy_state(done, tensors, log, self.device)

    def restore(self, state: State, seed: int) -> int:
        """Restore a state; the number of steps done in it.

        Dropout goes on where it was, or from `seed` and the step if the state was made on another kind of device.
        """
        live = self.live()
        shapes = {name: tuple(tensor.shape) for name, tensor in live.items()}
        stored = {n: tuple(t.shape) for n, t in state.tensors.items() if not n.startswith(("rng/", "log/"))}
        if shapes != stored:
            name = next(name for name in shapes | stored if shapes.get(name) != stored.get(name))
            raise ContractError(
                f"the checkpoint of step {state.step} is of another model: {name} is {stored.get(name, 'missing')} "
                f"there and {shapes.get(name, 'missing')} here",
                "train it again with --overwrite",
            )
        with torch.no_grad():
            for name, tensor in live.items():
                tensor.copy_(state.tensors[name])
        if ("rng/cuda" in state.tensors) != (self.device.type == "cuda"):
            _seed_generators(self.device, f"training {seed} from step {state.step}")
        else:
            torch.set_rng_state(state.tensors["rng/cpu"])
            if self.device.type == "cuda":
                torch.cuda.set_rng_state(state.tensors["rng/cuda"], self.device)
        self.sums = state.tensors["log/sums"].to(self.device, copy=True)
        self.names = list(state.log["names"])
        self.row_start = int(state.log["row_start"])
        return state.step


def _named(student: nn.Module, objective: Objective, method: str) -> Iterator[tuple[str, Tensor]]:
    """The (name, tensor) pairs of a method of both modules, with the prefixes "model/" and "objective/"."""
    for scope, module in (("model", student), ("objective", objective)):
        for name, tensor in dict(getattr(module, method)()).items():
            yield f"{scope}/{name}", tensor


def _average(loss: Tensor, terms: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and terms of the whole batch: the means of those of its shares, equal in all processes of a job."""
    if ranks.world_size() == 1:
        return loss, terms
    mean, *means = collectives.mean(torch.stack([loss, *(term.to(loss.dtype) for term in terms.values())]))
    return mean, dict(zip(terms, means, strict=True))


def are_finite(tensors: Sequence[Tensor]) -> list[bool]:
    """Whether all values of each tensor, none of them empty, are finite: one wait for a GPU."""
    if not tensors:
        return []
    largest = torch._foreach_norm([tensor.detach() for tensor in tensors], math.inf)
    finite: list[bool] = torch.isfinite(torch.stack(largest)).tolist()
    return finite


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0


def _reading_is_free(device: torch.device) -> bool:
    """Whether the value of a tensor can be read without waiting for other work."""
    return device.type == "cpu"


@contextmanager
def step_context(options: LoopOptions, device: torch.device, seed: int) -> Iterator[None]:
    """The context of steps: their precision, and a random state of their own."""
    with devices.arithmetic(device, options.precision, cast=False), _random_state(device, seed):
        yield


@contextmanager
def _random_state(device: torch.device, seed: int) -> Iterator[None]:
    """Set torch's global random state, on the CPU and on this GPU, from `seed`; restore the old one afterwards."""
    with torch.random.fork_rng(devices=_gpu_numbers(device)):
        _seed_generators(device, f"training {seed}")
        yield


def _seed_generators(device: torch.device, text: str) -> None:
    """Seed torch's global generators, on the CPU and on this GPU, from a text."""
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
    torch.default_generator.manual_seed(number)
    for gpu in _gpu_numbers(device):
        torch.cuda.default_generators[gpu].manual_seed(number)


def _gpu_numbers(device: torch.device) -> list[int]:
    """The number of this GPU; empty for a CPU."""
    if device.type != "cuda":
        return []
    return [torch.cuda.current_device() if device.index is None else device.index]
