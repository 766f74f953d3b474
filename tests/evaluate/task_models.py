"""The small task of `tests.workspaces` with test images, and models of its own classes.

"expert" looks at the colour and is mostly right; "mirror" is the same network with its classes in another order;
"plain" the same without class names; "noisy" mixes up half of the colours; "alpha" has different classes.
"""

from pathlib import Path

from tests import workspaces

CLASSES = workspaces.CLASSES
SOURCE = """
[[source]]
name = "{name}"
model = "python:models.py:small"
args = {{ width = 3, classes = 3 }}
weights = "{name}.safetensors"
input_size = 12
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
{classes}"""


def make(folder: Path) -> Path:
    """The workspace, with its manifest."""
    import torch
    from safetensors.torch import save_file

    place = workspaces.make(folder, test="50%")
    toml = (place / "zoo.toml").read_text()
    # A convolution of one pixel of one colour each, the mean over the picture, and a head on that mean.
    conv = torch.zeros(3, 3, 3, 3)
    for number in range(3):
        conv[number, 2 - number, 1, 1] = 1
    heads = {"expert": torch.eye(3), "mirror": torch.eye(3).flip(0), "plain": torch.eye(3)}
    heads["noisy"] = torch.tensor([[0.6, 0.5, 0.0], [0.0, 0.9, 0.4], [0.6, 0.0, 0.6]])
    for name, head in heads.items():
        weights = {"0.weight": conv, "0.bias": torch.ones(3), "4.weight": head, "4.bias": torch.zeros(3)}
        save_file(weights, place / f"{name}.safetensors")
        order = CLASSES[::-1] if name == "mirror" else CLASSES
        listed = "" if name == "plain" else f"classes = {list(order)!r}\n"
        toml += SOURCE.format(name=name, classes=listed)
    (place / "zoo.toml").write_text(toml)
    result = workspaces.run("split", workspace=place)
    assert result.code == 0, result.err
    return place
