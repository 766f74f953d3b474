"""`zoo doctor`: whether this machine, its libraries and its disk can do what the stages ask of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zoo_cli import config, interruption, specs
from zoo_cli.config import Config
from zoo_cli.errors import ZooError
from zoo_cli.pipeline import doctor_libraries, doctor_machine
from zoo_cli.pipeline.diagnosis import Diagnosis
from zoo_cli.progress import Progress


@dataclass(frozen=True)
class Examination:
    """All diagnoses, in the order of the checks."""

    diagnoses: tuple[Diagnosis, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that fail."""
        return tuple(diagnosis.check for diagnosis in self.diagnoses if diagnosis.state == "fail")


CHECKS: tuple[Callable[[Config], Iterator[Diagnosis]], ...] = (
    doctor_libraries.check_python,
    doctor_libraries.check_torch,
    doctor_machine.check_disk,
    doctor_machine.check_sync,
    doctor_machine.check_memory,
    doctor_machine.check_cores,
    doctor_libraries.check_extras,
    doctor_libraries.check_caches,
)


def examine(workspace: Path) -> Examination:
    """Check this machine for a workspace, which need not exist. What is written into it for a moment is removed."""
    diagnoses: list[Diagnosis] = []
    try:
        settings = config.load(workspace)
        for source in settings.models:
            specs.provider("model provider", source.model)
        known = f"{workspace / config.FILE} names {len(settings.models)} models"
        has_file = (workspace / config.FILE).is_file()
        diagnoses.append(Diagnosis("workspace", "ok", known if has_file else f"no {config.FILE} in {workspace}"))
    except ZooError as error:
        settings = Config(workspace)
        diagnoses.append(Diagnosis("workspace", "fail", error.message, error.hint))
    with Progress("doctor", len(CHECKS), "checks") as progress:
        for check in CHECKS:
            interruption.check()
            if check is doctor_libraries.check_caches and _fails(diagnoses, "torch", "torchvision"):
                diagnoses.append(doctor_libraries.UNCHECKED_CACHES)  # the modules that look them up import both
            else:
                diagnoses += check(settings)
            progress.advance(1)
    return Examination(tuple(diagnoses))


def _fails(diagnoses: list[Diagnosis], *checks: str) -> bool:
    return any(diagnosis.state == "fail" and diagnosis.check in checks for diagnosis in diagnoses)
