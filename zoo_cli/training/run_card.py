"""The card of a run, README.md: what the student is, how it is used without zoo, and what it was made from."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from zoo_cli.config import Preprocessing
from zoo_cli.counts import count_things
from zoo_cli.models.architecture import HeadSpec, head_name
from zoo_cli.models.student import Student
from zoo_cli.store.card_accuracy import NOT_EVALUATED, accuracy_block
from zoo_cli.text_escapes import code_span, markdown

SHOWN_CLASSES = 20
LOAD = "from safetensors.torch import load_file"
VIEWS = "from torchvision.transforms import v2"
START = ""
"""The name under which licences hold that of the network that a student starts as."""


@dataclass(frozen=True)
class Lineage:
    """What a student was made from.

    `labelled`, `unlabelled`, `test`: numbers of images that are learned with their labels, without, and predicted.
    `licenses`: of the sources by name, where they are known, and under START of the network that the student starts as.
    """

    labelled: int
    unlabelled: int
    test: int
    licenses: Mapping[str, str] = field(default_factory=dict)


def render_card(name: str, record: Mapping[str, Any], student: Student, lineage: Lineage) -> str:
    """The card of a finished run called `name`. The labels of the test images are not read in training, so that its
    accuracy is added by `zoo evaluate accuracy`."""
    classes, word = student.classes, shlex.quote(name)
    names = ", ".join(map(markdown, classes[:SHOWN_CLASSES])) + (", …" if len(classes) > SHOWN_CLASSES else "")
    options = "\n".join(f"| {key} | {markdown(str(value))} |" for key, value in record["options"].items())
    return f"""---
library_name: zoo
tags: [image-classification, knowledge-distillation]
---

# {markdown(name)}

{code_span(record["student"]["student"]["model"])} for {len(classes)} classes: {names}.

## Accuracy

{accuracy_block(NOT_EVALUATED.format(command=code_span(f"zoo evaluate accuracy {word}")))}

## Use

```python
{render_snippet(student)}
```

In `zoo`, {code_span(f"file:{name}")} names it as a source or a student, and
{code_span(f"zoo predict {word} --data folder:IMAGES")} predicts new images. `config.json` describes how it is built.

## Input

{count_things(student.preprocessing.channels, "channel")}, {_describe_view(student.preprocessing)}, values in [0, 1],
mean {list(student.preprocessing.mean)}, std {list(student.preprocessing.std)}.

## Learned from

{_count_images(lineage)}; {lineage.test:,} test images are predicted.

{_render_sources(record, lineage)}

## Options

| option | value |
|---|---|
{options}
"""


def render_snippet(student: Student) -> str:
    """Python that loads a student from its folder, the current one, and predicts the class of an image.

    Architectures of torchvision and timm are built without zoo.
    """
    preprocessing = student.preprocessing
    size, resize = preprocessing.input_size, preprocessing.resize
    sizes = f"v2.Resize(({size}, {size}), {_mode(preprocessing)})"
    if resize is not None:
        sizes = f"v2.Resize({resize}, {_mode(preprocessing)}), v2.CenterCrop({size})"
    mode = "L" if preprocessing.channels == 1 else "RGB"
    imports, build = _import_and_build(student)
    return f"""import json
from pathlib import Path

import torch
from PIL import Image
{imports}

{build}
model.eval()

prepare = v2.Compose([
    {sizes}, v2.PILToTensor(),
    v2.ToDtype(torch.float32, scale=True), v2.Normalize({list(preprocessing.mean)}, {list(preprocessing.std)}),
])
classes = json.loads(Path("config.json").read_text())["zoo"]["classes"]
image = prepare(Image.open("image.png").convert("{mode}"))
with torch.inference_mode():
    probabilities = model(image[None]).softmax(1)[0]
print(classes[probabilities.argmax()], float(probabilities.max()))"""


def _mode(preprocessing: Preprocessing) -> str:
    return f"v2.InterpolationMode.{preprocessing.interpolation.upper()}"


def _import_and_build(student: Student) -> tuple[str, str]:
    """The lines that import what builds the network, and those that build it and load its weights."""
    architecture = student.architecture
    provider, _, name = architecture.model.partition(":")
    if provider not in ("torchvision", "timm") or any(head.wrap for head in architecture.heads):
        return f"{VIEWS}\n\nimport zoo_cli as zoo", 'model = zoo.load_student(".", trust=True).module'
    arguments = dict(architecture.args)
    if architecture.classes is not None:
        arguments["num_classes"] = architecture.classes
    words = "".join(f", {key}={value!r}" for key, value in arguments.items())
    built = f"timm.create_model({name!r}{words})" if provider == "timm" else f"models.get_model({name!r}{words})"
    heads = "".join(f"\n{_assign_head(head, student.module)}" for head in architecture.heads)
    loaded = 'model.load_state_dict(load_file("model.safetensors"))'
    imports = [LOAD, VIEWS, "import timm"] if provider == "timm" else [LOAD, "from torchvision import models", VIEWS]
    return "\n".join(imports), f"model = {built}{heads}\n{loaded}"


def _assign_head(head: HeadSpec, module: nn.Module) -> str:
    """The line that gives a network the head that `module` has."""
    name = head_name(head)
    place = "model" + re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", f".{name}")
    if not head.outputs:
        return f"{place} = torch.nn.Identity()"
    bias = "" if module.get_submodule(name).bias is not None else ", bias=False"
    if head.tap.pool:
        return f"{place} = torch.nn.Conv2d({head.tap.dim}, {head.outputs}, 1{bias})"
    return f"{place} = torch.nn.Linear({head.tap.dim}, {head.outputs}{bias})"


def _describe_view(preprocessing: Preprocessing) -> str:
    where = (
        f"shorter side {preprocessing.resize}, centre crop {preprocessing.input_size}"
        if preprocessing.resize
        else f"whole image at {preprocessing.input_size}"
    )
    return f"{where} px ({preprocessing.interpolation})"


def _count_images(lineage: Lineage) -> str:
    if not lineage.unlabelled:
        return f"{lineage.labelled:,} labelled images"
    if not lineage.labelled:
        return f"{lineage.unlabelled:,} images whose labels are not read"
    return f"{lineage.labelled:,} labelled images, and {lineage.unlabelled:,} whose labels are not read"


def _render_sources(record: Mapping[str, Any], lineage: Lineage) -> str:
    """The sources with their weights and licences."""
    start = record["student"]["init"] if record["student"].get("init") else record["student"]["student"]["model"]
    known = lineage.licenses.get(START, "")
    first = f"It starts as {code_span(start)}" + (f" (licence: {markdown(known)})." if known else ".")
    sources = [*record.get("weights", []), *record.get("teachers", [])]
    if not sources:
        return first + " No other source: images and labels of the task."
    rows = "\n".join(
        f"| {markdown(row['source'])} | {row['weight']:.4f} | "
        f"{markdown(lineage.licenses.get(row['source'], '')) or 'not known'} |"
        for row in sources
    )
    return f"{first}\n\n| source | weight | licence |\n|---|---|---|\n{rows}"
