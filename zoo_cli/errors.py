"""The kinds of errors, each with its exit code. Only `__main__` catches them all and ends the program."""


class ZooError(Exception):
    """An error that the user can fix, shown as one line: what is wrong, then what to do."""

    code = 1

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class UsageError(ZooError):
    """Wrong flags or configuration, an unknown name, or an input that is stale."""

    code = 2


class ParameterError(UsageError):
    """Parameters of a config that are out of range or exclude one another.

    The text names parameters in backquotes, like `batch_size`; a command shows their flags instead.
    """


class ContractError(ZooError):
    """A file that breaks its contract: corrupt, labels that disagree, repeated ids, values that are not finite."""

    code = 3


class TooManyErrors(ZooError):
    """The work is done, but more samples failed than `--max-errors` allows."""

    code = 4


class Paused(ZooError):
    """Stopped early with a good checkpoint: the same command goes on from there."""

    code = 75


class Undefined(Exception):
    """A score has no value on these arrays.

    Not an error: the stage stores null with this machine-readable reason, and the source ranks last.
    """

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Interrupted(BaseException):
    """A signal, raised where the program can stop. A BaseException, so that no error handler swallows it."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
