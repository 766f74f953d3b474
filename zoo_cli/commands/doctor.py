"""`zoo doctor`: whether this machine can run the stages."""

from zoo_cli.answer_tables import Field, show_answer
from zoo_cli.commands.options import HERE, Format, Json, Workspace
from zoo_cli.errors import ZooError

FIELDS = (Field("state"), Field("check"), Field("text"), Field("hint", "what to do"))


def doctor(form: Format = None, json: Json = False, workspace: Workspace = HERE) -> None:
    """Check libraries, cards, disk and memory.

    torch and torchvision are tried in a process of their own: that they fit each other, and that every CUDA device
    computes. The disk of the workspace, syncing of files, memory and cores within the limits of a cgroup, extras, and
    the weights that sources would fetch from the network follow. Each is ok, warn or fail; a failure is exit code 1.

    zoo doctor
    zoo doctor --json -C work
    """
    from zoo_cli.pipeline.doctor import examine

    examination = examine(workspace)
    rows = [vars(diagnosis) for diagnosis in examination.diagnoses]
    answer = {"healthy": not examination.failed, "checks": rows}
    show_answer("zoo.doctor/1", answer, FIELDS, form="json" if json else form, table=rows)
    if examination.failed:
        count = f"{len(examination.failed)} of {len(rows)} checks fail"
        raise ZooError(f"{count}: {', '.join(examination.failed)}", "do what their lines say")
