"""Where the weights of a model come from, as its declaration says: a file or a name, its own factory, or chance."""

from zoo_cli import specs

RANDOM = "none"
"""The value of the key `weights` that asks for random weights."""
NAMED = ("torchvision", "timm", "clip")
"""Providers whose networks are random unless weights are named."""
HUB = "hf-hub:"
"""The prefix of timm's names of models on the Hugging Face hub."""
UNTRAINED, FACTORY = "untrained", "weights: factory"


def lacks_weights(model: str, weights: str) -> bool:
    """Whether a model would be random although nothing asks for it. `weights`: as declared, empty if it is not."""
    provider, rest = specs.provider("model provider", model)
    if provider == "transformers":
        return not weights and "/" not in rest
    return provider in NAMED and not weights and "." not in rest and not rest.startswith(HUB)


def describe_origin(model: str, weights: str) -> str:
    """What a table says of the weights of a model: "untrained", "weights: factory", or nothing."""
    if weights == RANDOM or lacks_weights(model, weights):
        return UNTRAINED
    return FACTORY if not weights and specs.provider("model provider", model)[0] == "python" else ""
