"""The files that the demonstration writes as a user would: the network and the zoo.toml."""

import json

from zoo_cli.demo import demo_data

NETWORK = '''\
"""The network of the student and of every source: an ordinary file of yours, which knows nothing of zoo."""

from torch import nn


def build(classes: int) -> nn.Module:
    """A small convolutional network for grey images of any size."""
    return nn.Sequential(
        *block(1, 16),
        nn.MaxPool2d(2),
        *block(16, 32),
        nn.MaxPool2d(2),
        *block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
'''

TASK = """\
# Written by `zoo demo`, and a zoo.toml like any other: paths are relative to this file.

[task]
name = "handwritten-digits"
train = "folder:digits/train"        # one folder a class
test = "folder:digits/test"
labelled = "3/class"                 # the other training images are used without their labels
probe = "all"                        # the sources are scored on every labelled image
seed = {seed}                             # of the choice of those labels, and of the students

[student]                            # the small model to train
model = "python:models.py:build"     # PROVIDER:NAME, here a function in your own file
args = {{ classes = 10 }}              # the arguments of that function
# how its images are prepared: their size, and the mean and standard deviation of pixels in [0, 1], one a channel
{pixels}
# no weights: it starts from scratch

# One table a source, each with its own weights and classes. The first was trained on a task like this one, the others
# on less and less similar ones: zoo should find that out from the thirty labels. `trained_on` names the data that a
# source has seen; a source that has seen the task's own data is left out.
"""
PIXELS = """\
input_size = 16
mean = [0.3]
std = [0.38]
channels = 1"""
SOURCE = """
[[source]]
name = {name}
model = "python:models.py:build"
args = {{ classes = {count} }}
weights = {weights}
classes = {classes}
trained_on = {trained_on}
{pixels}
"""


def format_toml(seed: int) -> str:
    """The zoo.toml of the demonstration with this seed."""
    sources = [
        SOURCE.format(
            name=json.dumps(name),
            count=len(classes),
            weights=json.dumps(f"sources/{name}.safetensors"),
            classes=json.dumps(classes),
            trained_on=json.dumps([f"drawn-{name}"]),
            pixels=PIXELS,
        )
        for name, (classes, _) in demo_data.KINDS.items()
    ]
    return TASK.format(seed=seed, pixels=PIXELS) + "".join(sources)
