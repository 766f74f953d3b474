"""Networks with given logits, and small students and teachers to train."""

import copy
import dataclasses

import torch
from torch import Tensor, nn

from tests.training import tiny_models as small
from zoo_cli.objectives.supervised import Batch
from zoo_cli.objectives.teacher_context import TeacherContext


class Table(nn.Module):
    """Maps image i, row i of an identity matrix, to row i of its `logits`."""

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return images, images @ self.logits


class Teacher(nn.Module):
    """Returns only the logits of a network that returns features and logits, in eval mode."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)[1]


class Case:
    """Logits (rows, classes) of a student, of the original student, and of teachers; random labels."""

    def __init__(self, seed=0, rows=6, classes=5, teachers=1, spread=3.0, labelled=None):
        generator = torch.Generator().manual_seed(seed)

        def draw():
            return spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64)

        self.student, self.original, self.teachers = draw(), draw(), [draw() for _ in range(teachers)]
        labels = torch.randint(0, classes, (rows,), generator=generator)
        self.labels = labels[: rows if labelled is None else labelled]
        self.images = torch.eye(rows, dtype=torch.float64)

    def context(self, temperature=1.0, steps=10) -> TeacherContext:
        teachers = tuple(Teacher(Table(logits)) for logits in self.teachers)
        return TeacherContext(teachers, Table(self.original).eval(), steps, temperature)

    def batch(self) -> Batch:
        return Batch(self.images, self.labels)

    def evaluate(self, objective, batch=None):
        """(loss, gradient on the student's logits, terms)."""
        student = Table(self.student)
        loss, terms = objective.loss(student, self.batch() if batch is None else batch)
        loss.backward()
        return loss.detach(), student.logits.grad, terms

    def differentiate(self, formula):
        """(loss, gradient) of a formula of the student's logits, by autograd."""
        logits = self.student.clone().requires_grad_()
        loss = formula(logits)
        loss.backward()
        return loss.detach(), logits.grad


def assert_agree(actual, expected):
    """Loss and gradient agree to 1e-10."""
    for ours, theirs in zip(actual[:2], expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def make_context(student: nn.Module, teachers=1, steps=12, **options) -> TeacherContext:
    """Small, confident teachers for a small student, and a copy of the student as the original."""
    dtype = next(student.parameters()).dtype
    networks = [small.Student(50 + i).to(dtype) for i in range(teachers)]
    for network in networks:
        network.head.weight.data.mul_(5)
    return TeacherContext(tuple(map(Teacher, networks)), copy.deepcopy(student).eval(), steps, **options)


def strong_view_batches(labelled=6, unlabelled=6):
    """`small.batches` with strong views instead of stored targets."""
    target_batches = small.batches(labelled, unlabelled)

    def batch(step: int) -> Batch:
        generator = torch.Generator().manual_seed(7000 + step)
        strong = torch.randn(unlabelled, 3, 8, 8, generator=generator)
        return dataclasses.replace(target_batches(step), targets=None, strong=strong)

    return batch


class EvalStudent(small.Student):
    """A small student whose batch norm and dropout stay in eval mode during training."""

    def __init__(self, seed: int = 0):
        super().__init__(seed)
        self.train()

    def train(self, _mode: bool = True):
        return super().train(False)
