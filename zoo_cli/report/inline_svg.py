"""SVG files of matplotlib as parts of a page: with the colours of the page, and without style attributes or ids.

The content security policy of the page allows one style sheet and no other style, and ids of several plots would meet.
"""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from zoo_cli.report.theme import VARIABLES

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
INHERITED = ("font-family", "font")
"""What the text of a plot takes from the page."""
NUMBER = re.compile(r"(\d+\.\d{2})\d+")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")


@dataclass
class StyleSheet:
    """The styles that plots use, each a class of its own, in the order in which they come."""

    classes: dict[str, str] = field(default_factory=dict)

    def name(self, style: str) -> str:
        """The class of a style, such as `fill: #ffffff; opacity: 0.5`; empty for no style."""
        declarations = [part.strip() for part in style.split(";")]
        kept = ";".join(re.sub(r":\s+", ":", part) for part in declarations if part and _key(part) not in INHERITED)
        sizes = (re.search(r"([\d.]+)px", part) for part in declarations if _key(part) == "font")
        kept = ";".join([kept, *(f"font-size:{size[1]}px" for size in sizes if size)]).strip(";")
        kept = COLOUR.sub(lambda match: VARIABLES.get(match[0], match[0]), kept)
        return self.classes.setdefault(kept, f"z{len(self.classes)}") if kept else ""

    def to_css(self) -> str:
        """The classes as CSS."""
        return "\n".join(f".{name}{{{style}}}" for style, name in self.classes.items())


def inline_svg(text: str, sheet: StyleSheet, prefix: str) -> str:
    """The `svg` element of a file as it may stand in a page, hidden from readers of its `figure`'s description.

    `prefix`: of the ids of its shapes, so that they differ from those of other plots.
    """
    root = ElementTree.fromstring(text.encode())
    used = {value.rpartition("#")[2].rstrip(")") for node in root.iter() for value in _links(node)}
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{SVG}metadata", f"{SVG}style")]:
            parent.remove(child)
    for node in root.iter():
        _rewrite(node, sheet, prefix, used)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(node: Element, sheet: StyleSheet, prefix: str, used: set[str]) -> None:
    node.tag = node.tag.removeprefix(SVG)
    name = node.attrib.pop("id", None)
    if name in used:
        node.set("id", f"{prefix}{name}")
    style = sheet.name(node.attrib.pop("style", ""))
    if style:
        node.set("class", style)
    if LINK in node.attrib:
        node.set("href", "#" + prefix + node.attrib.pop(LINK).removeprefix("#"))
    if "clip-path" in node.attrib:
        node.set("clip-path", node.get("clip-path", "").replace("#", f"#{prefix}"))
    for key in ("d", "x", "y", "width", "height", "transform", "points"):
        if key in node.attrib:
            node.set(key, " ".join(NUMBER.sub(r"\1", node.get(key, "")).split()))
    if node.get("transform", "").startswith("rotate(-0 "):
        del node.attrib["transform"]
    if node.text is not None and not node.text.strip():
        node.text = None
    node.tail = None


def _links(node: Element) -> list[str]:
    return [value for key in (LINK, "clip-path") if (value := node.get(key)) is not None]


def _key(declaration: str) -> str:
    return declaration.partition(":")[0].strip()
