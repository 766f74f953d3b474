"""The commands that write, each with the workspace that it is killed in."""

from dataclasses import dataclass
from pathlib import Path

Command = tuple[str, ...]
SHORT = ("--steps", "4", "--batch-size", "8", "--augment", "flip", "--checkpoint-every", "2", "--workers", "0")
RUN = ("distill", *SHORT, "--name", "mine")
HEADS = ("distill", "--objective", "heads", *SHORT, "--name", "mine")
SWEEP = ("finetune", "alpha", "--lr", "0.1,0.01", *SHORT, "--name", "mine")
VIEWS = ("extract", "--views", "2", "--augment", "shift")
RIDGE = ("pseudo-label", "--head", "ridge")
OTHER = ("--lr", "0.3")
EXPERT = ("expert", "--data", "folder:images", "--model", "alpha", *SHORT, "--lr", "0.05", "--out", "zoo/mine")
TWO = ("--data", "more=folder:images", "--multi", "shared")
TUNE = ("tune", "--candidates", "../candidates.toml", "--budget", "8", *SHORT)
SMALL_PARTS = "from zoo_cli.store import feature_store\nfeature_store.PART_ROWS = 20\n"
CANDIDATES = """
with open("../candidates.toml", "w") as file:
    file.write('[[candidate]]\\nname = "mixed"\\nobjective = "cross-task"\\n')
"""
SMALL_DEMO = """
from zoo_cli.demo import demo_data
from zoo_cli.pipeline import demo
_digits, _labels = demo_data.load_digits()
demo_data.load_digits = lambda: (_digits[:60], _labels[:60])
demo.TRAIN, demo.SOURCE_STEPS, demo.SOURCE_IMAGES, demo.STEPS = 40, 20, 40, 1
"""


@dataclass(frozen=True)
class Scenario:
    """A command, and what was there before: a workspace up to a stage, further commands, changed images.

    `code`: how the command ends; `first`: python that runs before each command; `makes_workspace`: the command makes
    the workspace, and takes no -C. `every`: only each n-th step is tried.
    """

    command: Command
    upto: str | None = None
    before: tuple[Command, ...] = ()
    new_images: bool = False
    code: int = 0
    first: str = ""
    makes_workspace: bool = False
    every: int = 1

    def change_images(self, place: Path) -> None:
        """Give a class another name, and break an image."""
        if self.new_images:
            (place / "images/blue").rename(place / "images/violet")
            (place / "images/red/03.png").write_bytes(b"no image")


PAIR = (RUN, (*SWEEP[:2], *SHORT, "--name", "other"))
EACH = ("distill", "--each-source", *SHORT, "--lam", "0.5")
SCENARIOS: dict[str, Scenario] = {
    "init": Scenario(("init", "--train", "folder:images", "--name", "patterns", "--overwrite")),
    "split": Scenario(("split",)),
    "split --overwrite": Scenario(("split", "--overwrite"), "extract", new_images=True, code=4),
    "extract": Scenario(("extract",), "split", first=SMALL_PARTS),
    "extract, missing images": Scenario(("extract",), new_images=True),
    "extract --overwrite": Scenario(("extract", "--overwrite"), "extract"),
    "extract --gradients": Scenario(("extract", "--gradients", "--projection", "20"), "extract"),
    "extract --views": Scenario(VIEWS, "extract"),
    "extract --views --overwrite": Scenario(("extract", "--views", "3", "--overwrite"), "extract", (VIEWS,)),
    "score": Scenario(("score", "--metric", "parc", "--metric", "cka"), "extract"),
    "score --overwrite": Scenario(("score", "--metric", "parc", "--seed", "3", "--overwrite"), "score"),
    "rank": Scenario(("rank",), "score"),
    "rank --overwrite": Scenario(("rank", "--weighting", "p=2", "--overwrite"), "rank"),
    "rank --out": Scenario(("rank", "--out", "other/ranking.parquet"), "score"),
    "pseudo-label": Scenario(("pseudo-label",), "rank"),
    "pseudo-label --overwrite": Scenario(("pseudo-label", "--overwrite"), "pseudo-label"),
    "pseudo-label --head": Scenario(RIDGE, "rank"),
    "pseudo-label --head --overwrite": Scenario((*RIDGE, "--overwrite"), "rank", (RIDGE,)),
    "pseudo-label --head, another split": Scenario(
        (*RIDGE, "--overwrite"), "rank", (RIDGE, ("split", "--seed", "5", "--overwrite"))
    ),
    "pseudo-label --head --views": Scenario((*RIDGE, "--views", "2"), "rank", (VIEWS,)),
    "distill": Scenario(RUN, "pseudo-label"),
    "distill --overwrite": Scenario((*RUN, "--overwrite"), "pseudo-label", ((*RUN, *OTHER),)),
    "distill, two seeds": Scenario(("distill", *SHORT, "--seed", "0", "--seed", "1"), "pseudo-label"),
    "distill, heads": Scenario(HEADS, "pseudo-label"),
    "distill, heads --overwrite": Scenario((*HEADS, "--overwrite"), "pseudo-label", ((*RUN, *OTHER),)),
    "distill --each-source": Scenario(EACH, "pseudo-label"),
    "distill, from images": Scenario(RUN),
    "finetune": Scenario(SWEEP, "split"),
    "finetune --overwrite": Scenario((*SWEEP, "--overwrite"), "split", ((*SWEEP, "--momentum", "0.5"),)),
    "expert": Scenario(EXPERT),
    "expert --overwrite": Scenario((*EXPERT, "--overwrite"), before=((*EXPERT, "--momentum", "0.5"),)),
    "expert --multi": Scenario((*EXPERT, *TWO)),
    "tune": Scenario(TUNE, "rank", first=CANDIDATES, every=60),
    "predict": Scenario(("predict", "mine", "--data", "folder:images", "--out", "p.csv"), "pseudo-label", (RUN,)),
    "predict --heads": Scenario(
        ("predict", "--heads", "--data", "folder:images", "--out", "p.parquet"), "rank", (RIDGE,)
    ),
    "evaluate accuracy": Scenario(("evaluate", "accuracy", "--out", "a.parquet"), "pseudo-label", PAIR),
    "evaluate flips": Scenario(("evaluate", "flips", "mine", "other", "--out", "f.json"), "pseudo-label", PAIR),
    "evaluate transfer": Scenario(
        ("evaluate", "transfer", "mine", "other", "--teacher", "mine", "--out", "t.json"), "pseudo-label", PAIR
    ),
    "evaluate ranking": Scenario(("evaluate", "ranking", ".", "--out", "r.parquet"), "pseudo-label", (EACH,)),
    "evaluate overlap": Scenario(("evaluate", "overlap", "mine", "--out", "o.parquet"), "pseudo-label", PAIR),
    # Its commands are those above, and it takes seconds.
    "demo": Scenario(("demo", "--out", "demo"), first=SMALL_DEMO, makes_workspace=True, every=40),
}
