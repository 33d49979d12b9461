"""What docs/data.md says is so: its rows are of the formats it says, its tables are the code's, its keys exist."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from assay.config.problems import LEAVES, SECTIONS
from assay.core.records import Turn
from assay.data.formats import FORMATS, Draft, decide
from assay.data.readers import Row
from assay.data.turns import ROLES
from assay.text.template import DEFAULT_TEMPLATE, ChatTemplate

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
CODE = "\n".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "src/assay/data").glob("*.py")))


def section(heading: str) -> str:
    """The text under a heading, up to the next one of its rank or a higher one."""
    start = PAGE.index(f"\n{heading}\n") + 1
    end = re.compile(rf"\n#{{1,{heading.index(' ')}}} ").search(PAGE, start)
    return PAGE[start : end.start() if end else None]


def example(format: str) -> tuple[Row, str | None]:
    """The row of a format's section, and its template."""
    own = section(f"### {format}")
    (block,) = re.findall(r"```json\n(.*?)```", own, re.DOTALL)
    assert block.count("\n") == 3
    template = re.search(r'data\.template: "(.*?)"', own)
    return Row(1, json.loads(block), "example"), template[1] if template else None


def test_every_format_has_its_section() -> None:
    assert re.findall(r"^### (.*)$", section("## Formats"), re.MULTILINE) == list(FORMATS)


@pytest.mark.parametrize("format", FORMATS)
def test_the_example_is_of_its_format(format: str) -> None:
    row, template = example(format)
    layout = decide("auto", {}, template, None, [row])
    assert layout.format == format
    assert isinstance(layout.parse(row), Draft)


def test_the_rendered_example_is_what_the_default_template_makes() -> None:
    (shown,) = re.findall(r"```text\n(.*?)\n```", section("## Chat templates"), re.DOTALL)
    end = "<|endoftext|>"
    template = ChatTemplate(DEFAULT_TEMPLATE, named={"eos_token": end}, control_tokens=[end])
    for format in ("sharegpt", "messages"):
        row, _ = example(format)
        draft = decide("auto", {}, None, None, [row]).parse(row)
        assert isinstance(draft, Draft)
        rendered = template.render([Turn(*turn) for turn in draft.turns])
        ((first, last),) = rendered.spans
        assert f"{rendered.text[:first]}[[{rendered.text[first:last]}]]{rendered.text[last:]}" == shown


def test_the_roles_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", section("## Roles"), re.MULTILINE)
    assert {word: role for role, words in rows for word in re.findall(r"`(\w+)`", words)} == ROLES


def test_the_reasons_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (`[^|]*) \|", section("## What is dropped, and what is refused"), re.MULTILINE)
    said = {reason: row.endswith("*") for row in rows for reason in re.findall(r"`([\w-]+)`", row)}
    made = {name: "bad=True" in rest for name, rest in re.findall(r'Drop\("([\w-]+)"(.*)', CODE)}
    assert made.items() <= said.items()
    roles = {f"{role}-first" for role in ROLES.values()}
    assert all(f'"{reason}"' in CODE for reason in said.keys() - made.keys() - roles - {"leak", "benchmark-match"})


def test_the_keys_exist() -> None:
    named = set(re.findall(r"`((?:data|train|evaluate)\.[a-z0-9_.]+)", PAGE))
    assert len(named) > 15
    assert named <= {*LEAVES, *SECTIONS}


def test_the_links_lead_somewhere_and_name_every_example() -> None:
    links = {(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)#]+)\)", PAGE)}
    assert all(link.is_file() for link in links)
    assert set((ROOT / "examples").glob("*.yaml")) <= links
