"""What is said in a chat: from the spellings of many exports to turns, and the rules that a chat keeps."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from typing import Any

from assay.core.errors import InputError
from assay.core.records import Role, Turn, repeated
from assay.data.columns import kind_of, short
from assay.data.tally import Drop
from assay.data.values import newlines

_SPELLINGS: dict[Role, str] = {
    "system": "system developer",
    "user": "user human prompter client",
    # A call of a tool is what the model is to write.
    "assistant": "assistant gpt chatgpt bot model bing bard ai function_call tool_call",
    "tool": "tool function observation function_response tool_response ipython",
}
ROLES: dict[str, Role] = {word: role for role, words in _SPELLINGS.items() for word in words.split()}
_SPEAKER = ("role", "from", "speaker")  # keys of a turn, in the order in which they are looked for
_SPOKEN = ("content", "value", "text")
_LIST = re.compile(r"\s*\[\s*\{")
_USUAL = (("role", "content"), ("from", "value"))


def unpacked(value: Any) -> Any:
    """A list of turns that a cell holds as text, in JSON or as Python writes it (so do tables saved as CSV).

    Returns:
        The list, or `value` itself where it is none.
    """
    if not isinstance(value, str) or not _LIST.match(value):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if turn_keys(found) else value
    return value


def turn_keys(value: Any) -> tuple[str, str] | None:
    """The keys of speaker and text where `value` looks like a list of turns, by its first; else None."""
    value = unpacked(value)
    if not isinstance(value, list) or not value or not isinstance(value[0], dict):
        return None
    speaker = next((key for key in _SPEAKER if key in value[0]), None)
    spoken = next((key for key in (*_SPOKEN, "tool_calls", "function_call") if key in value[0]), None)
    return (speaker, spoken) if speaker and spoken else None


def read_turns(value: Any, column: str, place: str) -> list[Turn] | Drop:
    """The turns of one conversation, as they are.

    Args:
        value: a list of objects with a speaker (role, from or speaker) and a text (content, value or text), or such a
            list written as text; a turn's text may come in parts. Tool calls are read as text: one line of JSON for
            each, after what is said with them.
        column: its name, for messages.
        place: the row, for messages.

    Returns:
        The turns, or ``unknown-role`` or ``not-text`` (a part that is an image, say).

    Raises:
        InputError: this is no list of turns, or a turn's text is something else.
    """
    value = unpacked(value)
    if not isinstance(value, list | None):
        raise _wrong(f"the column {column!r} holds {kind_of(value)}, not a list of turns", value, place)
    turns = []
    for number, said in enumerate(value or (), start=1):
        turn = _plain_turn(said) or _odd_turn(said, _turn(column, number), place)
        if isinstance(turn, Drop):
            return turn
        turns.append(turn)
    return turns


def _plain_turn(said: Any) -> Turn | None:
    """A turn of two keys in a usual spelling, as nearly all are; None of any other."""
    if type(said) is dict and len(said) == 2:
        for speaker, spoken in _USUAL:
            if speaker in said and type(text := said.get(spoken)) is str and "\r" not in text:
                role = ROLES.get(said[speaker]) if type(said[speaker]) is str else None
                return Turn(role, text) if role else None
    return None


def _odd_turn(said: Any, where: str, place: str) -> Turn | Drop:
    if not isinstance(said, dict):
        raise _wrong(f"{where}: {kind_of(said)}, not an object with a role and a text", said, place)
    if said.get("weight") == 0 or said.get("train") is False:
        return Drop("turn-not-to-learn", "weight: 0 and train: false are not known here", bad=True)
    # A table of mixed turns gives each of them all keys, most of them null.
    speaker = next((said[key] for key in _SPEAKER if said.get(key) is not None), None)
    text = next((said[key] for key in _SPOKEN if said.get(key) is not None), None)
    role = ROLES.get(speaker.strip().lower()) if isinstance(speaker, str) else None
    if role is None:
        return Drop("unknown-role", short(speaker), bad=True)
    if not isinstance(text, str):
        text = _parts(text, where, place)
        if isinstance(text, Drop):
            return text
    calls = said.get("tool_calls") or said.get("function_call")
    return Turn(role, _with_calls(newlines(text), calls) if calls else newlines(text))


def conversation(turns: Sequence[Turn]) -> tuple[Turn, ...] | Drop:
    """A chat that can be learned from: an optional system turn, the user first, no turn without a text.

    Returns:
        The turns, without a system turn that is empty; or the first rule that they break.
    """
    kept = tuple(turn for turn in turns if turn.role != "system" or turn.text.strip())
    rest = kept[1:] if kept and kept[0].role == "system" else kept
    if not rest:
        return Drop("no-turns", bad=True)
    roles = [turn.role for turn in rest]
    if "system" in roles:
        return Drop("system-not-first", bad=True)
    if roles[0] != "user":
        return Drop(f"{roles[0]}-first", bad=True)
    if "assistant" not in roles:
        return Drop("no-assistant-turn", bad=True)
    empty = next((turn for turn in rest if not turn.text or turn.text.isspace()), None)
    return kept if empty is None else Drop("empty-turn", empty.role, bad=True)


def merged(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """The turns, with one turn where user or assistant speaks several times in a row, the texts joined by newlines."""
    found: list[Turn] = []
    for turn in turns:
        if repeated([*found[-1:], turn]):
            found[-1] = Turn(turn.role, f"{found[-1].text}\n{turn.text}")
        else:
            found.append(turn)
    return tuple(found)


def content(turns: Sequence[Turn]) -> str:
    """What checks compare: the texts of all turns but the system's, joined by newlines."""
    return "\n".join([turn.text for turn in turns if turn.role != "system"])


def _parts(value: Any, where: str, place: str) -> str | Drop:
    if value is None:
        return ""
    if not isinstance(value, list):
        raise _wrong(f"{where}: {kind_of(value)}, not a text", value, place)
    texts = []
    for part in value:
        sort = part.get("type", "text") if isinstance(part, dict) else "text"
        if sort != "text":
            return Drop("not-text", short(sort), bad=True)
        text = part.get("text") if isinstance(part, dict) else part
        if not isinstance(text, str):
            raise _wrong(f"{where}: a part without a text", part, place)
        texts.append(text)
    return "".join(texts)


def _with_calls(text: str, calls: Any) -> str:
    """The text, and calls of tools: name and arguments as they stand, one line of JSON each; ids are left out."""
    lines = [text] if text else []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function") if isinstance(call, dict) else None
        lines.append(json.dumps(function or call, ensure_ascii=False))
    return "\n".join(lines)


def _turn(column: str, number: int) -> str:
    return f"the column {column!r}, turn {number}"


def _wrong(what: str, value: Any, place: str) -> InputError:
    return InputError(
        f"{what}: {short(value)}",
        where=place,
        fix='a chat is a list such as [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]',
    )
