"""A tiny student with batch norm and dropout, which make training hard to repeat, and its data."""

import torch
from torch import Tensor, nn

from zoo_cli.objectives.cross_task import CrossTask
from zoo_cli.objectives.supervised import Batch
from zoo_cli.training import loop
from zoo_cli.training.training_config import LoopOptions

CPU = torch.device("cpu")
COUNTS, KINDS, ALPHA = (7, 3, 5), ("softmax", "sigmoid", "softmax"), (0.5, 0.2, 0.3)
FEATURES, CLASSES = 12, 4


class Student(nn.Module):
    """Images (B, 3, 8, 8) to features (B, 12) and logits (B, 4)."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv = nn.Conv2d(3, FEATURES, 3, padding=1, bias=False)
            self.norm = nn.BatchNorm2d(FEATURES)
            self.drop = nn.Dropout(0.3)
            self.head = nn.Linear(FEATURES, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.drop(self.norm(self.conv(images)).relu().mean((2, 3)))
        return features, self.head(features)


def batches(labelled: int = 6, unlabelled: int = 6, columns: int = sum(COUNTS)):
    """The batch function: images, whose brightness depends on the label in the labelled rows, and stored targets."""

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(1000 + step)
        images = torch.randn(labelled + unlabelled, 3, 8, 8, generator=generator)
        labels = torch.randint(0, CLASSES, (labelled,), generator=generator)
        images[:labelled] += labels[:, None, None, None] - 1.5
        if not unlabelled:
            return Batch(images, labels)
        targets = torch.rand(unlabelled, columns, generator=generator).clamp(0.01, 0.99).half()
        return Batch(images, labels, targets)

    return batch


def objective(lam: float = 0.8, seed: int = 0, **options) -> CrossTask:
    return CrossTask(FEATURES, COUNTS, KINDS, ALPHA, torch.Generator().manual_seed(seed), lam=lam, **options)


class Run:
    """One call of `train`, with the states and rows that it gave."""

    def __init__(
        self,
        student=None,
        goal=None,
        batch=None,
        *,
        seed=0,
        resume=None,
        stop_after=None,
        channels_last=False,
        **options,
    ):
        self.student = Student() if student is None else student
        self.goal = objective() if goal is None else goal
        self.options = LoopOptions(**{"steps": 12, "log_every": 3, "checkpoint_every": 5, **options})
        self.states: list[loop.State] = []
        self.rows: list[dict[str, float]] = []
        self.batch = batches() if batch is None else batch
        self.seed = seed
        self.stop_calls = 0 if resume is None else resume.step
        self.stop_after = stop_after
        self.resume = resume
        self.channels_last = channels_last

    def stop(self) -> bool:
        self.stop_calls += 1
        return self.stop_calls == self.stop_after

    def train(self) -> "Run":
        self.outcome = loop.train(
            self.student,
            self.goal,
            self.batch,
            self.options,
            device=CPU,
            seed=self.seed,
            resume=self.resume,
            save=self.states.append,
            log=self.rows.append,
            should_stop=self.stop,
            channels_last=self.channels_last,
        )
        return self


def weights(module: nn.Module) -> Tensor:
    """All values of a module's state in one row, to compare bit by bit."""
    return torch.cat([tensor.detach().double().flatten() for tensor in module.state_dict().values()])
