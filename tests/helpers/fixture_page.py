"""The report as a test reads it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from assay.core.rundir import RunDir
from assay.stages.compare.report import write_report

VOID = {"meta", "link", "br", "hr", "img", "input"}
INLINE = {"a", "b", "code", "i", "q", "span", "title"}  # whatever else begins, begins a word


class Page(HTMLParser):
    """Checks that every element is closed in order, and keeps what the tests ask about."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.sections: dict[str, list[str]] = {}  # by the id of the heading
        self._section: str | None = None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "section":
            self._section = dict(attrs)["aria-labelledby"]
        if tag not in INLINE:
            self._part(" ")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words.append(data)
            self._part(data)

    def _part(self, words: str) -> None:
        if self._section and "section" in self.open:
            self.sections.setdefault(self._section, []).append(words)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))

    def section(self, name: str) -> str:
        """The text under one heading, blanks of all kinds as one."""
        return re.sub(r"\s+", " ", "".join(self.sections[name]))


def page_of(run: RunDir) -> Page:
    """Write a run's report and read it."""
    return Page(write_report(run).read_text(encoding="utf-8"))
