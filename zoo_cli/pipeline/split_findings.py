"""What `zoo split` saw in the images and files: counts with examples. Nothing is judged, nothing is left out for it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from zoo_cli.counts import count_cases
from zoo_cli.images.image_info import ImageInfo
from zoo_cli.text_escapes import quote

SHOWN = 5
"""How many names a line lists."""


@dataclass(frozen=True, slots=True)
class SeenImage:
    """A readable image: its id, the part of the task it belongs to, its true label if known, and its pixels."""

    id: str
    data: str
    label: int | None
    info: ImageInfo


@dataclass(frozen=True)
class Examples:
    """How many images have something, and the ids of the first ones."""

    count: int
    first: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassedOver:
    """Files of one ending, with its dot and in small letters ("" without one), that are not images, and one of them."""

    ending: str
    count: int
    example: str


@dataclass(frozen=True)
class SplitFindings:
    """What was seen. `empty_classes`: without a training image; `label_gaps`: numbers that no training image has.

    `copies`: images under more than one id, `label_conflicts`: those among them under more than one label, both counted
    once for each distinct image. `few_levels`: 16-bit images, which are scaled as `images.sixteen_bits` says. What
    pixels show is None where only headers were read.
    """

    passed_over: tuple[PassedOver, ...]
    failed: int
    empty_classes: tuple[str, ...]
    label_gaps: tuple[int, ...]
    one_colour: Examples | None
    few_levels: Examples | None
    lost_transparency: Examples | None
    copies: Examples
    label_conflicts: Examples

    @property
    def beyond_manifest(self) -> bool:
        """Whether something was seen that the manifest does not hold."""
        pixels = (self.one_colour, self.few_levels, self.lost_transparency)
        return bool(self.passed_over) or any(examples is None or examples.count for examples in pixels)

    @property
    def lines(self) -> list[str]:
        """One line for each kind that was seen."""
        lines = []
        if self.passed_over:
            total = sum(kind.count for kind in self.passed_over)
            kinds = ", ".join(f"{kind.ending or 'no ending'} ({kind.count:,})" for kind in self.passed_over[:SHOWN])
            more = ", …" if len(self.passed_over) > SHOWN else ""
            were = count_cases(
                total, "file is not an image and was passed over", "files are not images and were passed over"
            )
            lines.append(f"{were}: {kinds}{more}, e.g. {quote(self.passed_over[0].example)}")
        if self.failed:
            lines.append(count_cases(self.failed, "image failed", "images failed"))
        if self.empty_classes:
            names = _shorten([quote(name) for name in self.empty_classes])
            have = count_cases(len(self.empty_classes), "class has", "classes have")
            lines.append(f"{have} no training image: {names}")
        if self.label_gaps:
            numbers = _shorten([str(number) for number in self.label_gaps])
            have = count_cases(len(self.label_gaps), "label number has", "label numbers have")
            lines.append(f"{have} no training image: {numbers}")
        scaled = "without a value from 4096 on {} read as 12 bits, from 256 on as 8 bits"
        bleached = "of one colour once transparency is dropped"
        for examples, one, several in (
            (self.one_colour, "image is of one colour", "images are of one colour"),
            (
                self.few_levels,
                f"image of 16 bits uses few of its levels; {scaled.format('it is')}",
                f"images of 16 bits use few of their levels; {scaled.format('they are')}",
            ),
            (self.lost_transparency, f"image is {bleached}", f"images are {bleached}"),
            (self.copies, "image occurs under more than one id", "images occur under more than one id"),
            (self.label_conflicts, "image occurs under more than one label", "images occur under more than one label"),
        ):
            if examples is not None and examples.count:
                first = " and ".join(map(quote, examples.first[:2]))
                lines.append(f"{count_cases(examples.count, one, several)}, e.g. {first}")
        if self.one_colour is None:
            lines.append("only headers: damaged pixels, images of one colour and 16 bits were not looked for")
        return lines


def collect_findings(
    images: Sequence[SeenImage],
    failed: int,
    passed_over: Iterable[str],
    classes: Sequence[str],
    *,
    only_headers: bool = False,
) -> SplitFindings:
    """The findings of the readable images, the number of failed ones and the files that were passed over.

    `only_headers`: the images were not decoded.
    """
    used = {image.label for image in images if image.data == "train"}
    unused = [label for label in range(len(classes)) if label not in used]
    numbered = list(classes) == [str(label) for label in range(len(classes))]
    same: dict[str, list[SeenImage]] = defaultdict(list)
    for image in images:
        same[image.info.sha256].append(image)
    copies = [copy for copy in same.values() if len(copy) > 1]
    conflicts = [copy for copy in copies if len({image.label for image in copy} - {None}) > 1]
    return SplitFindings(
        passed_over=_count_endings(passed_over),
        failed=failed,
        empty_classes=() if numbered else tuple(classes[label] for label in unused),
        label_gaps=tuple(unused) if numbered else (),
        one_colour=None if only_headers else _select(images, lambda image: image.info.one_colour),
        few_levels=None if only_headers else _select(images, lambda image: image.info.few_levels),
        lost_transparency=None if only_headers else _select(images, lambda image: image.info.lost_transparency),
        copies=_first_copies(copies),
        label_conflicts=_first_copies(conflicts),
    )


def _count_endings(files: Iterable[str]) -> tuple[PassedOver, ...]:
    """The files by ending, the most frequent first."""
    counts: Counter[str] = Counter()
    example: dict[str, str] = {}
    for file in files:
        ending = PurePosixPath(file).suffix.lower()
        counts[ending] += 1
        example.setdefault(ending, file)
    return tuple(
        PassedOver(ending, count, example[ending])
        for ending, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _select(images: Sequence[SeenImage], has: Callable[[SeenImage], bool]) -> Examples:
    ids = [image.id for image in images if has(image)]
    return Examples(len(ids), tuple(ids[:SHOWN]))


def _first_copies(copies: Sequence[Sequence[SeenImage]]) -> Examples:
    return Examples(len(copies), tuple(image.id for image in copies[0][:SHOWN]) if copies else ())


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
