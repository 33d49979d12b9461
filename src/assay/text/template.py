"""Conversations as text: the chat template, and which stretches of its text the model is to produce.

A template's author may mark these with `{% generation %}`, and then the marks hold. Most templates have none. For them,
an assistant's turn begins where the prompt ends that the template makes of the turns before it, and ends with the
end-of-turn token behind what is said. Both are looked up, not guessed: the contents of all turns are enclosed in marks
and rendered once more, which shows where each stands, and the same is done with the conversation cut short before and
behind each of the assistant's turns. A template that would have to be guessed at is refused.

That is done once for each sequence of roles, with a neutral text in every turn, and leaves the template's own text
between the contents: the skeleton. A conversation whose rendering is exactly its skeleton filled with its contents
needs nothing else; any other one (the template has moved, cut or replaced some content) is looked up by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from typing import Any

import jinja2

from assay.core.errors import InputError
from assay.core.files import sha256_json
from assay.core.records import Role, Turn, repeated
from assay.text.jinja import Environment, marks_generation
from assay.text.marks import Found, Span, free, read_marks, unmarked, wrap

# The template of a base that has none: plain lines and no new token, so that no embedding has to be learned first.
# The system prompt stands first; an answer ends with the end-of-text token, which the base knows as an end. The prompt
# ends in "Assistant:", and the answer brings the space: byte-level tokenizers begin a token with it, so that a prompt
# has the same ids whether or not the answer follows.
DEFAULT_TEMPLATE = """\
{%- for message in messages %}
    {%- if not loop.first %}{{ '\\n' }}{% endif %}
    {%- if message['role'] == 'system' %}
        {{- message['content'] | trim ~ '\\n' }}
    {%- elif message['role'] == 'assistant' %}
        {{- 'Assistant:' }}{% generation %}{{ ' ' ~ message['content'] | trim ~ eos_token }}{% endgeneration %}
    {%- else %}
        {{- message['role'] | capitalize ~ ': ' ~ message['content'] | trim }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '\\nAssistant:' }}{% endif %}
"""

_NEUTRAL = "x"
_KEPT = 4096  # sequences of roles whose skeletons are remembered
_REPEATED = (
    "one side speaks twice in a row: merge such turns or drop such conversations with data.clean.repeated_turns, or "
    "give another template as data.chat_template"
)
_OTHER = "drop or mend such conversations, or give another template as data.chat_template"
_MARK_IT = (
    "enclose what the model is to produce in {% generation %} and {% endgeneration %} in the template, end of turn "
    "included, and give it as data.chat_template"
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as text.

    Args:
        text: all of it.
        spans: what the model is to produce, end of turn included, in order.
        content_spans: of each of the assistant's turns what is said, without template text and end of turn; where the
            template rewrites it, what stands in its place.
        last: the character from which on spans belong to the assistant's last turn.
    """

    text: str
    spans: list[Span]
    content_spans: list[Span]
    last: int


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """The text of a sequence of roles without the contents.

    Args:
        pieces: before the first content, between each two, behind the last.
        order: the turns whose contents stand between the pieces.
        speaks: of each assistant's turn its place in `order`, the characters of template text in front of its content
            that belong to its span, and those behind.
    """

    pieces: list[str]
    order: list[int]
    speaks: list[tuple[int, int, int]]

    def openings(self) -> list[str]:
        """Of each assistant's turn what stands between the content before it and its span."""
        return [self.pieces[k][: len(self.pieces[k]) - head] for k, head, _ in self.speaks]

    def fit(self, text: str, contents: Sequence[str]) -> tuple[list[Span], list[Span], int] | None:
        """Spans, contents' spans and the start of the last turn, if `text` is this skeleton around the contents."""
        for said in (contents, [content.strip() for content in contents]):
            parts = [""] * (2 * len(self.order) + 1)
            parts[0::2] = self.pieces
            parts[1::2] = [said[number] for number in self.order]
            if "".join(parts) == text:
                ends = [0, *accumulate(map(len, parts))]
                spans = [(ends[2 * k + 1] - head, ends[2 * k + 2] + tail) for k, head, tail in self.speaks]
                inner = [(ends[2 * k + 1], ends[2 * k + 2]) for k, _, _ in self.speaks]
                return spans, inner, ends[2 * self.speaks[-1][0]] if self.speaks else len(text)
        return None


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the template in Jinja.
        named: the tokenizer's named special tokens (`bos_token`, `eos_token`, ...), which templates may use.
        control_tokens: the contents of all tokens that may end a turn.

    Raises:
        InputError: the template is not valid Jinja.
    """

    def __init__(
        self, source: str, *, named: Mapping[str, str] | None = None, control_tokens: Iterable[str] = ()
    ) -> None:
        self.source, self.named = source, dict(named or {})
        self._control = _any_of(control_tokens)
        self._compiled: dict[tuple[str, str], jinja2.Template] = {}
        self._skeleton = lru_cache(_KEPT)(self._make_skeleton)
        self._neutral_tail = lru_cache(_KEPT)(self._make_neutral_tail)
        self.marked = marks_generation(self._template(("", "")))  # the template itself says what is to be produced

    @cached_property
    def sha256(self) -> str:
        """A hash of everything that decides the text of a conversation."""
        return sha256_json([self.source, self.named])

    @cached_property
    def end_of_turn(self) -> str | None:
        """The token that ends an assistant's turn: the first control token that the template puts behind one."""
        found = self._control.search(self._neutral_tail(("user", "assistant"), False) or "")
        return found.group() if found else None

    def after(self, text: str, position: int) -> Span | None:
        """The first control token of a text from a position on."""
        found = self._control.search(text, position)
        return found.span() if found else None

    def prompt(self, turns: Sequence[Turn], *, where: str | None = None) -> str:
        """The text that a model is asked to answer: the turns, and the beginning of the assistant's next one.

        Raises:
            InputError: as `render`.
        """
        return self._plain(turns, True, where)

    def render(self, turns: Sequence[Turn], *, where: str | None = None) -> Rendered:
        """A conversation as text, and what of it the model is to produce.

        Args:
            turns: the conversation.
            where: what an error calls it.

        Raises:
            InputError: the template refuses the conversation (with its own words), or what the model is to produce
                cannot be told in it.
        """
        contents = [turn.text for turn in turns]
        if self.marked:
            marks = free(contents, 2, where)
            text, spans = unmarked(self._run(self._template((marks[0], marks[1])), turns, False, where), *marks)
        else:
            text, spans = self._plain(turns, False, where), []
        skeleton = self._skeleton(tuple(turn.role for turn in turns))
        found = skeleton.fit(text, contents) if skeleton else None
        own, inner, last = found or self._look_up(turns, text, spans, where)
        return Rendered(text, spans if self.marked else own, inner, last)

    def _template(self, marks: tuple[str, str]) -> jinja2.Template:
        if marks not in self._compiled:
            try:
                self._compiled[marks] = Environment(marks).from_string(self.source)
            except jinja2.TemplateSyntaxError as error:
                raise InputError(
                    f"the chat template is not valid Jinja: {error.message}",
                    where=f"chat template, line {error.lineno}",
                    fix="correct data.chat_template",
                ) from error
        return self._compiled[marks]

    def _run(self, template: jinja2.Template, turns: Sequence[Turn], prompt: bool, where: str | None) -> str:
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        given: dict[str, Any] = {"messages": messages, "tools": None, "documents": None}
        try:
            return template.render(given, add_generation_prompt=prompt, **self.named)
        except Exception as error:  # the template is a program that the user brought
            raise InputError(
                f"the chat template refuses this conversation ({', '.join(t.role for t in turns[:6])}"
                f"{', ...' if len(turns) > 6 else ''}): {str(error) or type(error).__name__}",
                where=where,
                fix=_REPEATED if repeated(turns) else _OTHER,
            ) from error

    def _plain(self, turns: Sequence[Turn], prompt: bool = False, where: str | None = None) -> str:
        return self._run(self._template(("", "")), turns, prompt, where)

    def _find(self, turns: Sequence[Turn], text: str, prompt: bool = False) -> Found:
        """Where the contents stand in `text`, the rendering of `turns`: enclosed in marks they are rendered again.

        Where the template strips blanks around a content, the marks must stand inside of these.
        """
        mark = free([text, *(turn.text for turn in turns)], 1, None)[0]
        outside: list[str] = []
        for inside in (False, True):
            marked = [Turn(t.role, wrap(t.text, f"{mark}{n}", mark, inside)) for n, t in enumerate(turns)]
            try:
                pieces = re.split(f"{mark}([0-9]+[<>]){mark}", self._plain(marked, prompt))
            except InputError:  # it looks into the contents, and does not take these
                continue
            if "".join(pieces[0::2]) == text:
                return read_marks(pieces, outside, [turn.text for turn in turns])
            outside = pieces
        return Found()

    def _tail(self, turns: Sequence[Turn], prompt: bool) -> str | None:
        """The template's text behind the last turn's content, if that is found at the end."""
        try:
            text = self._plain(turns, prompt)
        except InputError:
            return None
        if not turns:
            return text
        end, last = max(self._find(turns, text, prompt).behind, default=(0, -1))
        return text[end:] if last == len(turns) - 1 else None

    def _make_neutral_tail(self, roles: tuple[Role, ...], prompt: bool) -> str | None:
        return self._tail([Turn(role, _NEUTRAL) for role in roles], prompt)

    def _make_skeleton(self, roles: tuple[Role, ...]) -> _Skeleton | None:
        turns = [Turn(role, _NEUTRAL) for role in roles]
        try:
            text = self._plain(turns)
        except InputError:  # it does not take a neutral text in these roles
            return None
        found = self._find(turns, text)
        order = sorted(found.starts, key=found.starts.__getitem__)
        places = {number: k for k, number in enumerate(order)}
        speaking = [number for number, role in enumerate(roles) if role == "assistant"]
        if len(found.behind) != len(order) or any(number not in places for number in speaking):
            return None
        speaks = []
        for number in speaking:
            start, end = found.starts[number], found.ends[number]
            span = (start, end)
            if not self.marked:
                placed = self._place(number, turns, text, found, lambda n, p: self._neutral_tail(roles[:n], p))
                if placed is None:
                    return None
                span = placed[0]
            speaks.append((places[number], start - span[0], span[1] - end))
        edges = [0, *(edge for number in order for edge in (found.starts[number], found.ends[number])), len(text)]
        return _Skeleton([text[a:b] for a, b in zip(edges[0::2], edges[1::2], strict=True)], order, speaks)

    def _place(
        self,
        number: int,
        turns: Sequence[Turn],
        text: str,
        found: Found,
        tail: Callable[[int, bool], str | None],
        known: str | None = None,
    ) -> tuple[Span, Span] | None:
        """The span of an assistant's turn and that of its content in a template without marks, or None.

        `tail` gives the template's text behind the first so many turns, rendered as a prompt or not; `known` what
        stands between the content before and this turn's span when all contents are neutral.
        """
        opening, ending = tail(number, True), tail(number + 1, False)
        if ending is None:
            ending = self._neutral_tail(tuple(turn.role for turn in turns[: number + 1]), False)
        if ending is None:
            return None
        control = self._control.search(ending)
        closing = ending[: control.end()] if control else ending
        end, start = found.ends.get(number), found.starts.get(number)
        if end is not None and opening is not None and text.startswith(closing, end):
            limit = end if start is None else start
            before = found.before(number, limit)
            if text.startswith(opening, before) and before + len(opening) <= limit:
                begin = before + len(opening)
                return (begin, end + len(closing)), (begin if start is None else start, end)
            if start is not None and opening.startswith(text[before:start]):
                # the prompt goes on (it begins a thought, say) where this turn has its content at once
                return (start, end + len(closing)), (start, end)
            if start is None and known and opening.startswith(known) and text.startswith(known, before):
                # the same, and the template has cut the beginning of the content (the thought)
                return (before + len(known), end + len(closing)), (before + len(known), end)
        return self._by_prefix(number, turns, text, ending, closing)

    def _by_prefix(
        self, number: int, turns: Sequence[Turn], text: str, ending: str, closing: str
    ) -> tuple[Span, Span] | None:
        """The same where the content itself cannot be found: between two renderings that `text` begins with."""
        try:
            prompt, whole = self._plain(turns[:number], True), self._plain(turns[: number + 1])
        except InputError:
            return None
        begin, end = len(prompt), len(whole) - len(ending)
        if not (text.startswith(whole) and whole.startswith(prompt) and whole.endswith(ending) and begin <= end):
            return None
        said, content = turns[number].text.strip(), (begin, end)
        if text[begin:end].strip() == said:
            start = text.index(said, begin)
            content = (start, start + len(said))
        return (begin, end + len(closing)), content

    def _look_up(
        self, turns: Sequence[Turn], text: str, marked: list[Span], where: str | None
    ) -> tuple[list[Span], list[Span], int]:
        """As `_Skeleton.fit`, for a conversation that does not fit."""
        if self.marked and self._plain(turns, False, where) != text:
            raise InputError(
                "the marks {% generation %} change the text of this conversation: a filter works on them",
                where=where,
                fix="put the marks of the chat template around its outermost expressions",
            )
        found = self._find(turns, text)
        roles = tuple(turn.role for turn in turns)
        speaking = [number for number, role in enumerate(roles) if role == "assistant"]
        skeleton = self._skeleton(roles)
        known = dict(zip(speaking, skeleton.openings(), strict=True)) if skeleton else {}
        spans: list[Span] = []
        contents: list[Span] = []
        for number in speaking:
            if self.marked and number in found.starts and number in found.ends:
                contents.append((found.starts[number], found.ends[number]))
                continue
            place = self._place(number, turns, text, found, lambda n, p: self._tail(turns[:n], p), known.get(number))
            if place is None and self.marked:
                return [], marked, marked[-1][0] if marked else len(text)
            if place is None:
                raise InputError(
                    f"what the model is to produce cannot be told in turn {number + 1}: the chat template writes it in "
                    "a way that cannot be followed",
                    where=where,
                    fix=_MARK_IT,
                )
            spans.append(place[0])
            contents.append(place[1])
        if not contents:
            return [], [], len(text)
        if not self.marked:
            return spans, contents, spans[-1][0]
        before = spans[-2][1] if len(spans) > 1 else 0  # where the contents could not be found
        return [], contents, max(before, found.before(speaking[-1], contents[-1][0]))


def default_source(value: Any, where: str) -> str | None:
    """The template of a tokenizer's settings: a text, or of several named ones the `default`.

    Raises:
        InputError: there are several, and none is the default.
    """
    if value is None or isinstance(value, str):
        return value
    named = value if isinstance(value, dict) else {entry["name"]: entry["template"] for entry in value}
    if not isinstance(named.get("default"), str):
        raise InputError(
            f"has several chat templates and no default one: {', '.join(map(str, named)) or 'none'}",
            where=where,
            fix="give one as data.chat_template",
        )
    return str(named["default"])


def _any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    # the longest first: a token may begin with another one; a pattern of nothing would match everywhere
    return re.compile("|".join(re.escape(token) for token in sorted(set(tokens), key=len, reverse=True)) or "(?!)")
