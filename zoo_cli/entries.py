"""What the tables of the registry hold of each name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One name of a table: its function as "module:function", and what it is in a line."""

    target: str
    summary: str


@dataclass(frozen=True)
class Metric(Entry):
    """A transferability metric, and what the stages must know before they import it.

    `on`: the representations that it reads, the one of its paper first. `zero_means_none`: zero means "no similarity";
    negative scores are clipped before weighting. `leave_one_out`: the function of its scores without each sample, for
    the jackknife interval; empty: half samples give it, see `ranking.uncertainty`. `ceiling`: its highest value, or the
    function that computes it; None: unbounded. `needs`: further arrays of a `Probe`, see `pipeline.metric_inputs`.
    `cheap`: takes seconds at most; `zoo score` computes it by default. `chance`: its value without agreement, the mean
    under permuted "labels" or a number known from theory; None: it does not measure agreement with labels. `member`,
    `joined`: if it also scores ensembles, the function of one source's part (N,) and that of the parts of several
    (S, N), see `ranking.ensembles`. `four_fifths`: four-fifth samples give its interval, because it saturates or bends
    on half samples; `logarithmic`: on the logarithm of its absolute value; `subsamples`, `permutations`: how
    many give its interval and its chance level, fewer where each takes a large part of the time of the value.
    `distribution`: reads a distribution over the source's
    classes, which "sigmoid" outputs are not. `pair_variance`: the function of the part of its variance that the
    jackknife counts twice. `margin`: the smallest gap between two scores that matters. `memory`: the function
    of the bytes that it needs for a probe, if these grow faster than the features and the smaller of their Gram
    matrices; `streams`: reads many features a block at a time. `pairs`: compares images of one class; with one of each
    it is undefined, or the same for all sources.
    `on_subsamples`, `on_permutations`: the functions of its scores on many subsamples, and under many permuted labels,
    at once, equal to those one by one, see `ranking.replicate_scores.Scorer`; empty: they are computed one by one.
    """

    on: tuple[str, ...] = ("features",)
    zero_means_none: bool = False
    leave_one_out: str = ""
    ceiling: float | str | None = None
    needs: tuple[str, ...] = ()
    cheap: bool = False
    chance: float | str | None = "labels"
    member: str = ""
    joined: str = ""
    four_fifths: bool = False
    logarithmic: bool = False
    subsamples: int = 64
    permutations: int = 10
    distribution: bool = False
    pair_variance: str = ""
    margin: float = 0.0
    memory: str = ""
    pairs: bool = False
    on_subsamples: str = ""
    on_permutations: str = ""
    streams: bool = False


@dataclass(frozen=True)
class Objective(Entry):
    """A training objective.

    `command`: the command that offers it. `needs_teacher`: learns from teachers of the student's own classes (general
    transfer, paper 002); its class takes a `TeacherContext`. `labels`: True: learns from labelled images alone, with
    their labels; False: from all; a string: the parameter that decides. `lr` (for a batch of 256 if `needs_teacher`),
    `epochs`, `schedule`, `batch_size`, `augment`, `lam` (None: without that flag): the defaults of these flags. They
    are those of its paper, but for the augmentation of `cross-task`, and the lam and augmentation of `heads`, which
    were measured, see tests/claims/README.md.
    """

    command: str = "distill"
    needs_teacher: bool = False
    labels: bool | str = False
    lr: float = 0.01
    epochs: float = 30.0
    lam: float | None = None
    schedule: str = "cosine"
    batch_size: int = 128
    augment: str = "crop"
    nesterov: bool = False  # momentum of SGD
