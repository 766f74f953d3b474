from zoo_cli.api.arrays import features as features
from zoo_cli.api.arrays import flips as flips
from zoo_cli.api.arrays import score as score
from zoo_cli.api.silence import ZooWarning as ZooWarning
from zoo_cli.api.workspace import Workspace as Workspace
from zoo_cli.errors import ZooError as ZooError
from zoo_cli.models.trained import load_student as load_student
from zoo_cli.pipeline.distill_config import CrossTaskConfig as CrossTaskConfig
from zoo_cli.pipeline.distill_config import HeadsConfig as HeadsConfig
from zoo_cli.pipeline.distill_config import TransferConfig as TransferConfig
from zoo_cli.pipeline.finetune_config import FinetuneConfig as FinetuneConfig
from zoo_cli.training.training_config import TrainingConfig as TrainingConfig

API: dict[str, str]
__all__ = [
    "CrossTaskConfig",
    "FinetuneConfig",
    "HeadsConfig",
    "TrainingConfig",
    "TransferConfig",
    "Workspace",
    "ZooError",
    "ZooWarning",
    "__version__",
    "features",
    "flips",
    "load_student",
    "score",
]
__version__: str
