"""Whether a network answers in the classes of the task, and in which order."""

from collections.abc import Sequence

from zoo_cli.errors import UsageError


def match_classes(
    name: str, theirs: Sequence[str] | None, count: int, classes: Sequence[str]
) -> tuple[int, ...] | None:
    """Which column of the network's logits (N, K) stands for each of the task's classes (C,).

    `theirs`: the class names of the network called `name`, None where only their number `count` is known: then equal
    numbers are taken to be the same classes in the same order, and None is answered. Raises UsageError for other
    classes than the task's.
    """
    if theirs is None:
        if count != len(classes):
            raise _other(name, f"{count} classes" if count else "no head", classes)
        return None
    place = {label: column for column, label in enumerate(theirs)}
    if len(place) < len(theirs):
        raise UsageError(f"{name} has two classes of one name", "classes of the source, one name for each output")
    strangers = [label for label in theirs if label not in set(classes)]
    missing = [label for label in classes if label not in place]
    if strangers or missing:
        raise _other(name, f'the class "{strangers[0]}"' if strangers else f'no class "{missing[0]}"', classes)
    return tuple(place[label] for label in classes)


def _other(name: str, what: str, classes: Sequence[str]) -> UsageError:
    more = ", …" if len(classes) > 3 else ""
    return UsageError(
        f"{name} has {what}; the {len(classes)} classes of the task are others: {', '.join(classes[:3])}{more}",
        "networks of other label spaces teach through --objective cross-task",
    )
