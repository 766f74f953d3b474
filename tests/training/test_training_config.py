"""Training options: their ranges, the defaults of objectives, and that they load nothing heavy."""

import dataclasses
import math
import subprocess
import sys
import time
from typing import get_args

import pytest

from zoo_cli import registry
from zoo_cli.errors import ParameterError
from zoo_cli.images import augmentation
from zoo_cli.training import training_config
from zoo_cli.training.training_config import TrainingConfig, parse_duration


@pytest.mark.parametrize("name", registry.OBJECTIVES)
def test_defaults_are_those_of_the_objective(name: str) -> None:
    entry = registry.OBJECTIVES[name]
    training = TrainingConfig().resolve(entry)
    assert (training.batch_size, training.epochs, training.augment) == (entry.batch_size, entry.epochs, entry.augment)
    assert (training.loop.schedule, training.loop.nesterov) == (entry.schedule, entry.nesterov)
    assert training.loop.lr == entry.lr * (entry.batch_size / 256 if entry.needs_teacher else 1)
    assert training.deadline is None
    assert not training.past_deadline()


def test_values_win_over_defaults() -> None:
    config = TrainingConfig(steps=7, batch_size=64, lr=0.5, momentum=0.0, schedule="constant", augment="none")
    training = config.resolve(registry.OBJECTIVES["supervised"])
    assert (training.batch_size, training.epochs, training.augment) == (64, None, "none")
    assert (training.loop.steps, training.loop.lr, training.loop.schedule) == (7, 0.5, "constant")
    assert training.loop.nesterov is False
    assert training.loop_options(1000, 10) == training.loop


def test_epochs_are_counted_in_steps() -> None:
    training = TrainingConfig(epochs=1.5).resolve(registry.OBJECTIVES["cross-task"])
    assert [training.loop_options(images, 10).steps for images in (100, 104, 1)] == [15, 16, 1]


def test_max_time_is_a_deadline() -> None:
    before = time.monotonic()
    training = TrainingConfig(max_time="1m").resolve(registry.OBJECTIVES["cross-task"])
    assert training.deadline is not None
    assert 60 <= training.deadline - before < 70
    assert dataclasses.replace(training, deadline=before).past_deadline()


@pytest.mark.parametrize(
    ("text", "seconds"), [("3h50m", 13800), ("90m", 5400), ("45s", 45), ("1d", 86400), ("0.001s", 0.001), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "epochs": 1}, "`steps` and `epochs` cannot be combined; set one of them"),
        ({"steps": 0}, "`steps` is 0; expected a finite number from 1 up"),
        ({"epochs": 0}, "`epochs` is 0; expected a number above 0"),
        ({"epochs": math.inf}, "`epochs` is inf; expected a number above 0"),
        ({"batch_size": 1}, "`batch_size` is 1; expected a finite number from 2 up"),
        ({"lr": -1}, "`lr` is -1; "),
        ({"lr": math.nan}, "`lr` is nan; "),
        ({"momentum": math.inf}, "`momentum` is inf; "),
        ({"workers": -1}, "`workers` is -1; "),
        ({"schedule": "cosin"}, '`schedule` is "cosin"; did you mean cosine? one of: constant, cosine, steps'),
        ({"augment": "crpo"}, '`augment` is "crpo"; did you mean crop? '),
        ({"unlabelled_from": "nowhere"}, '`unlabelled_from` is "nowhere"; one of: all, unlabelled'),
        ({"precision": "fp8"}, '`precision` is "fp8"; '),
        ({"compile": "jit"}, '`compile` is "jit"; '),
        ({"max_time": "soon"}, '`max_time` is "soon"; write e.g. 3h50m, 90m or 45s'),
        ({"max_time": ""}, '`max_time` is ""; '),
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        TrainingConfig(**options)  # type: ignore[arg-type]
    assert str(raised.value).startswith(message)


def test_augmentations_are_those_of_the_images() -> None:
    assert set(get_args(training_config.Augmentation)) == set(augmentation.KINDS)


def test_configs_import_nothing_heavy() -> None:
    modules = (
        "zoo_cli.training.training_config",
        "zoo_cli.training.run_paths",
        "zoo_cli.pipeline.distill_config",
        "zoo_cli.pipeline.finetune_config",
    )
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "pyarrow", "torch", "rich"} & set(loaded.stdout.split())
