"""From a row's columns to what is learned from it: plain text, a pair, or a chat; and which of these a source holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.core.errors import InputError
from assay.core.records import Turn
from assay.data.columns import MISSING, column_text, column_value, find, listed, no_column, short
from assay.data.placeholders import Template, compiled
from assay.data.tally import Drop
from assay.data.turns import content, conversation, read_turns, turn_keys, unpacked

if TYPE_CHECKING:
    from assay.data.readers import Row

# Names that columns go by, the likeliest first; capitals do not matter.
_TEXTS = ("text", "content", "story", "body", "document", "article", "passage")
_CHATS = ("conversations", "messages", "conversation", "dialogue", "dialog", "chat", "turns")
_SYSTEMS = ("system", "system_prompt")
_PAIRS = (
    ("prompt", "completion"), ("prompt", "response"), ("question", "answer"), ("instruction", "response"),
    ("setup", "punchline"), ("input", "output"), ("query", "response"), ("question", "response"), ("query", "answer"),
    ("prompt", "output"), ("prompt", "answer"), ("instruction", "completion"), ("context", "continuation"),
    ("source", "target"), ("article", "summary"),
)  # fmt: skip
_OPTIONAL = ("input", "system")

Found = tuple[dict[str, str], str]  # the columns by field, and the reason for them


@dataclass(frozen=True, slots=True)
class Draft:
    """What a row says, before it is cleaned and cut.

    Args:
        text: its content, as `Item.text`.
        turns: of a pair or a chat, what is said; empty for plain text.
    """

    text: str
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Layout:
    """How the rows of a source are read.

    Args:
        format: one of FORMATS.
        fields: the column (or dotted path) of each field of that format; empty for `template`.
        reason: why it is this format.
        unused: the columns of the first rows that it does not read.
        template: of the format `template`.
        system_prompt: the experiment's, for chats that have none of their own.
    """

    format: str
    fields: dict[str, str]
    reason: str
    unused: tuple[str, ...] = ()
    template: Template | None = None
    system_prompt: str | None = None

    def parse(self, row: Row) -> Draft | Drop:
        """What a row says, or why it is left out (``bad``, if it is malformed as rows of real exports are).

        Raises:
            InputError: the row lacks a column, or a column holds something of another kind.
        """
        return FORMATS[self.format](self, row)

    def text(self, row: Row, field: str) -> str:
        """The text of a field; none where the field is optional and absent."""
        column = self.fields.get(field)
        return "" if column is None else column_text(row, column, f"data.fields.{field}", optional=field in _OPTIONAL)

    def chat(self, turns: Sequence[Turn] | Drop, system: str = "") -> Draft | Drop:
        """A chat; the system prompt is the conversation's own, else the row's (`system`), else the experiment's."""
        said = turns if isinstance(turns, Drop) else conversation(turns)
        if isinstance(said, Drop):
            return said
        own = said[0].text if said[0].role == "system" else ""
        if own and system.strip() and system != own:
            return Drop("two-system-prompts", short(system), bad=True)
        given = system if system.strip() else self.system_prompt
        if not own and given:
            said = (Turn("system", given), *said)
        return Draft(content(said), said)


def _text(layout: Layout, row: Row) -> Draft | Drop:
    text = layout.text(row, "text")
    return Drop("empty") if not text or text.isspace() else Draft(text)


def _pair(layout: Layout, row: Row) -> Draft | Drop:
    values = {field: column_value(row, column, f"data.fields.{field}") for field, column in layout.fields.items()}
    if any(isinstance(unpacked(value), list) for value in values.values()):  # both sides may be lists of turns
        turns: list[Turn] = []
        for field, value in values.items():
            said = read_turns(value, layout.fields[field], row.place)
            if isinstance(said, Drop):
                return said
            turns += said
        return layout.chat(turns)
    _refuse_system_prompt(layout.system_prompt, layout.format)
    return _joined(layout.text(row, "prompt"), layout.text(row, "completion"))


def _joined(prompt: str, completion: str) -> Draft | Drop:
    if not completion.strip():
        return Drop("empty-completion", bad=True)
    if not prompt.strip():
        return Drop("empty-prompt", bad=True)
    turns = (Turn("prompt", prompt), Turn("completion", completion))
    return Draft(content(turns), turns)


def _alpaca(layout: Layout, row: Row) -> Draft | Drop:
    asked = [layout.text(row, field) for field in ("instruction", "input")]
    user = Turn("user", "\n\n".join(part for part in asked if part.strip()))
    return layout.chat([user, Turn("assistant", layout.text(row, "output"))], layout.text(row, "system"))


def _chat(layout: Layout, row: Row) -> Draft | Drop:
    column = layout.fields["messages"]
    turns = read_turns(column_value(row, column, "data.fields.messages"), column, row.place)
    return layout.chat(turns, layout.text(row, "system"))


def _template(layout: Layout, row: Row) -> Draft | Drop:
    if layout.template is None:
        raise ValueError("a layout of the format template has one")
    prompt, completion, values = layout.template.fill(row)
    pair = _joined(prompt, completion)
    return pair if isinstance(pair, Drop) else Draft("\n".join(filter(None, values)), pair.turns)


# How a row of each format is read.
FORMATS: dict[str, Callable[[Layout, Row], Draft | Drop]] = {
    "text": _text,
    "prompt-completion": _pair,
    "alpaca": _alpaca,
    "sharegpt": _chat,
    "messages": _chat,
    "template": _template,
}


class _Sample:
    """What the first rows of a source show."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.columns = list(dict.fromkeys(name for row in rows for name in row.columns))
        self.example: dict[str, Any] = {name: self.first(name) for name in self.columns}

    def first(self, path: str) -> Any:
        """The first value of a column that is not empty; MISSING where no row has the column, else None."""
        values = [value for row in self.rows if (value := find(row.columns, path)) is not MISSING]
        return next((value for value in values if value not in (None, "", [], {})), None) if values else MISSING

    def named(self, *names: str) -> str | None:
        """The first of these columns that is there, whatever its capitals."""
        spelled = {column.strip().lower(): column for column in reversed(self.columns)}
        return next((spelled[name] for name in names if name in spelled), None)

    def check(self, path: str, key: str) -> None:
        if self.first(path) is MISSING:
            raise no_column(path, self.example, self.rows[0].place, key)


def decide(
    format: str,
    fields: Mapping[str, str | None],
    template: str | None,
    system_prompt: str | None,
    first: Sequence[Row],
) -> Layout:
    """Decide how the rows of a source are read.

    Args:
        format: one of FORMATS, or ``auto``: chats first, then alpaca, known pairs of columns, and text.
        fields: the column of a field, where the experiment names one (None: not named). A format that does not use a
            named field is out.
        template: a text with columns in braces; it decides for the format ``template``.
        system_prompt: the experiment's, added to chats that have none.
        first: the first rows, at least one; a column counts as present if one of them has it.

    Raises:
        InputError: nothing fits, a named column is not there, or a key would be without effect.
    """
    if not first:
        raise InputError("holds no rows", where="data.source", fix="give a file with at least one row")
    sample = _Sample(first)
    given = {field: column for field, column in fields.items() if column is not None}
    for field, column in given.items():
        sample.check(column, f"data.fields.{field}")
    if template is not None and format in ("auto", "template"):
        return _by_template(compiled(template), given, system_prompt, sample)
    name, (columns, reason) = _guess(sample, given) if format == "auto" else (format, _named(format, sample, given))
    if name == "text":
        _refuse_system_prompt(system_prompt, name)
    return Layout(name, columns, reason, _unused(sample, columns.values()), None, system_prompt)


def _by_template(template: Template, given: Mapping[str, str], system_prompt: str | None, sample: _Sample) -> Layout:
    _refuse_fields("template", given)
    _refuse_system_prompt(system_prompt, "template")
    for column in template.columns:
        sample.check(column, "data.template")
    return Layout("template", {}, "data.template is given", _unused(sample, template.columns), template)


def _find_chat(sample: _Sample, given: Mapping[str, str]) -> Found | None:
    chats = [column for column in sample.columns if turn_keys(sample.example[column])]
    pair = _find_pair(sample, {})  # whose sides may be lists of turns
    others = [column for column in chats if pair is None or column not in pair[0].values()]
    known = [column for column in chats if column.strip().lower() in _CHATS]
    column = given.get("messages") or next(iter(known), others[0] if len(others) == 1 else None)
    if column is None:
        return None
    keys = turn_keys(sample.first(column))
    holds = f"holds a list of {{{keys[0]}, {keys[1]}}}" if keys else "is named"
    return {"messages": column} | _system(sample, given), f"the column {column!r} {holds}"


def _find_alpaca(sample: _Sample, given: Mapping[str, str]) -> Found | None:
    instruction, output = (given.get(field) or sample.named(field) for field in ("instruction", "output"))
    if instruction is None or output is None:
        return None
    about = given.get("input") or sample.named("input")
    columns = {"instruction": instruction} | ({"input": about} if about else {}) | {"output": output}
    return columns | _system(sample, given), f"the columns {instruction!r} and {output!r} are there"


def _find_pair(sample: _Sample, given: Mapping[str, str]) -> Found | None:
    for names in _PAIRS:
        prompt = given.get("prompt") or sample.named(names[0])
        completion = given.get("completion") or sample.named(names[1])
        if prompt and completion and prompt != completion:
            return {"prompt": prompt, "completion": completion}, f"the columns {prompt!r} and {completion!r} are a pair"
    return None


def _find_text(sample: _Sample, given: Mapping[str, str]) -> Found | None:
    if sample.rows[0].index == 0 and not given:
        return {"text": "text"}, "a text file is taken whole"
    column = given.get("text") or sample.named(*_TEXTS)
    if column is not None:
        return {"text": column}, f"the column {column!r} is there"
    prose = [column for column in sample.columns if any(_is_prose(row.columns.get(column)) for row in sample.rows)]
    if len(prose) == 1 and isinstance(sample.example[prose[0]], str):
        return {"text": prose[0]}, f"{prose[0]!r} is the only column that holds text"
    return None


# What finds the columns of a format, in the order in which `auto` asks, and the fields that the format has.
_FINDERS: dict[str, tuple[Callable[[_Sample, Mapping[str, str]], Found | None], tuple[str, ...]]] = {
    "messages": (_find_chat, ("messages", "system")),
    "sharegpt": (_find_chat, ("messages", "system")),
    "alpaca": (_find_alpaca, ("instruction", "input", "output", "system")),
    "prompt-completion": (_find_pair, ("prompt", "completion")),
    "text": (_find_text, ("text",)),
}


def _guess(sample: _Sample, given: Mapping[str, str]) -> tuple[str, Found]:
    fitting = {name: finder for name, (finder, fields) in _FINDERS.items() if set(given) <= set(fields)}
    for name, finder in fitting.items():
        if (found := finder(sample, given)) is not None:
            keys = turn_keys(sample.first(found[0].get("messages", "")))
            return "sharegpt" if keys and keys[0] != "role" else name, found
    named = " and ".join(f"data.fields.{field}" for field in given)
    raise InputError(
        (f"{named} alone decide no format" if given else "data.format is auto, and no format fits")
        + f"; {listed(sample.example)}",
        where=sample.rows[0].place,
        fix="name the columns: data.fields.text for plain text, data.fields.prompt and data.fields.completion for "
        "pairs, data.fields.instruction and data.fields.output for alpaca, data.fields.messages for chats; or write "
        "data.template",
    )


def _named(format: str, sample: _Sample, given: Mapping[str, str]) -> Found:
    finder, fields = _FINDERS[format]
    _refuse_fields(format, given, fields)
    found = finder(sample, given)
    if found is None and "messages" in fields and (column := sample.named(*_CHATS)):
        found = {"messages": column}, ""  # its rows say what it holds instead
    if found is None:
        needed = [field for field in fields if field not in (*_OPTIONAL, *given)]
        raise InputError(
            f"data.format is {format}, and no column is known as its {' and '.join(needed)}; {listed(sample.example)}",
            where=sample.rows[0].place,
            fix=f"name {'it' if len(needed) == 1 else 'them'}: --set "
            + " --set ".join(f"data.fields.{field}=NAME" for field in needed),
        )
    return found[0], f"data.format is {format}"


def _system(sample: _Sample, given: Mapping[str, str]) -> dict[str, str]:
    column = given.get("system") or sample.named(*_SYSTEMS)
    return {"system": column} if column and ("system" in given or _may_be_text(sample.example[column])) else {}


def _may_be_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_prose(value: Any) -> bool:
    """Whether a value, or one within it, is a text of several words: an id or a label is none."""
    if isinstance(value, str):
        return len(value.split(maxsplit=1)) > 1
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_prose(part) for part in inner)


def _unused(sample: _Sample, used: Iterable[str]) -> tuple[str, ...]:
    read = {path if path in sample.example else path.split(".")[0] for path in used}
    return tuple(column for column in sample.columns if column not in read)


def _refuse_fields(format: str, given: Mapping[str, str], fields: Sequence[str] = ()) -> None:
    for field in given:
        if field not in fields:
            known = ", ".join(f"data.fields.{name}" for name in fields)
            raise InputError(
                f"the format {format} does not use data.fields.{field}",
                where=f"data.fields.{field}",
                fix=f"remove it; the format has {known}" if known else "remove it; data.template names the columns",
            )


def _refuse_system_prompt(system_prompt: str | None, format: str) -> None:
    if system_prompt is not None:
        raise InputError(
            f"a system prompt is for chats, and the format is {format}, which is taken as it stands",
            where="data.system_prompt",
            fix="remove it, or set data.format to alpaca, sharegpt or messages",
        )
