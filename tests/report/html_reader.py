"""What tests read of a page: its elements, and the texts of its sections."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "br", "input"}


@dataclass
class Page(HTMLParser):
    """The elements of a page, with their attributes, and the text of each section by its id."""

    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sections: dict[str, str] = field(default_factory=dict)
    open_tags: list[str] = field(default_factory=list)
    section: str = ""
    style: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.elements.append((tag, values))
        if tag == "section":
            self.section = values["id"]
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open_tags.pop() == tag, f"</{tag}> closes another element"
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        if self.open_tags[-1:] == ["style"]:
            self.style += data
        elif self.section:
            self.sections[self.section] = f"{self.sections.get(self.section, '')} {data}"

    def attributes(self, tag: str, key: str) -> list[str]:
        """The values of an attribute of the elements of a name."""
        return [values[key] for name, values in self.elements if name == tag and key in values]


def read_page(text: str) -> Page:
    """The page. Fails if its elements do not close in order."""
    page = Page()
    page.feed(text)
    page.close()
    assert page.open_tags == [], "elements are not closed"
    page.sections = {name: re.sub(r"\s+", " ", body) for name, body in page.sections.items()}
    return page
