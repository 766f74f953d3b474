"""Matching of a network's classes with the task's."""

from collections.abc import Sequence

from zoo_cli.errors import UsageError


def match_classes(
    name: str, network_classes: Sequence[str] | None, count: int, classes: Sequence[str]
) -> tuple[int, ...] | None:
    """The column of a network's logits (N, K) for each of the task's classes (C,).

    `network_classes`: the K class names of the network `name`, None if only their number `count` is known; then equal
    numbers are taken to mean the same classes in the same order, and the result is None. Raises UsageError if the
    classes are not the task's.
    """
    if network_classes is None:
        if not count:
            raise UsageError(
                f"{name} has no head, so it cannot teach", "use --objective heads, which learns from its features"
            )
        if count != len(classes):
            raise _mismatch(name, f"{count} classes", classes)
        return None
    columns = {label: column for column, label in enumerate(network_classes)}
    if len(columns) < len(network_classes):
        raise UsageError(f"{name} has two classes of the same name", "give every output a class name of its own")
    extra = [label for label in network_classes if label not in set(classes)]
    missing = [label for label in classes if label not in columns]
    if extra or missing:
        raise _mismatch(name, f'the class "{extra[0]}"' if extra else f'no class "{missing[0]}"', classes)
    return tuple(columns[label] for label in classes)


def _mismatch(name: str, what: str, classes: Sequence[str]) -> UsageError:
    more = ", …" if len(classes) > 3 else ""
    return UsageError(
        f"{name} has {what}; its classes do not match the task's {len(classes)}: {', '.join(classes[:3])}{more}",
        "use --objective cross-task for sources of other label spaces",
    )
