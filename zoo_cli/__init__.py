"""zoo: choose, weigh and distil pretrained models into one small, accurate student.

import zoo_cli as zoo

The Python API, each name imported when it is first used: importing the package itself loads nothing else.
"""

import importlib

__version__ = "0.1.0"

API = {
    "CrossTaskConfig": "zoo_cli.pipeline.distill_config:CrossTaskConfig",
    "FinetuneConfig": "zoo_cli.pipeline.finetune_config:FinetuneConfig",
    "HeadsConfig": "zoo_cli.pipeline.distill_config:HeadsConfig",
    "TrainingConfig": "zoo_cli.training.training_config:TrainingConfig",
    "TransferConfig": "zoo_cli.pipeline.distill_config:TransferConfig",
    "Workspace": "zoo_cli.api.workspace:Workspace",
    "ZooError": "zoo_cli.errors:ZooError",
    "ZooWarning": "zoo_cli.api.silence:ZooWarning",
    "features": "zoo_cli.api.arrays:features",
    "flips": "zoo_cli.api.arrays:flips",
    "load_student": "zoo_cli.models.trained:load_student",
    "score": "zoo_cli.api.arrays:score",
}
"""Every public name and where it is, as "module:attribute"; `__init__.pyi` has the same for type checkers."""

__all__ = [*API, "__version__"]


def __getattr__(name: str) -> object:
    if name not in API:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = API[name].partition(":")
    value = globals()[name] = getattr(importlib.import_module(module), attribute)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *API})
