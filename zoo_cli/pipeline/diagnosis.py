"""What a check of `zoo doctor` says."""

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Diagnosis:
    """A check, its outcome, what was seen, and what to do; `hint` is empty where nothing is to be done."""

    check: str
    state: State
    text: str
    hint: str = ""
