"""What a row of each format says, which rows are left out and why, and how a source's format is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import Turn
from assay.data.formats import FORMATS, Draft, Layout, decide
from assay.data.readers import Row
from assay.data.tally import Drop
from assay.data.turns import ROLES, unpacked

HI = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
ASKED = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
CHAT = (Turn("user", "Hi"), Turn("assistant", "Hello"))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def row(index: int = 1, /, **columns: Any) -> Row:
    return Row(index, columns, f"a.jsonl:{index}")


def layout(
    *rows: Row, format: str = "auto", template: str | None = None, system: str | None = None, **fields: str
) -> Layout:
    return decide(format, fields, template, system, rows)


def parsed(
    format: str = "auto", template: str | None = None, system: str | None = None, **columns: Any
) -> Draft | Drop:
    one = row(**columns)
    return layout(one, format=format, template=template, system=system).parse(one)


def refused(*parts: str, **arguments: Any) -> None:
    with pytest.raises(InputError) as caught:
        parsed(**arguments)
    for part in (*parts, "fix: "):
        assert part in str(caught.value)


def test_text_is_taken_as_it_is() -> None:
    assert parsed(text=" One\r\ntwo \rthree\n\n") == Draft(" One\ntwo \nthree\n\n")
    assert parsed(text=" \n\t") == parsed("text", text=None) == Drop("empty")


def test_pairs_are_joined_as_they_stand() -> None:
    turns = (Turn("prompt", "Q: "), Turn("completion", " A\n"))
    assert parsed(prompt="Q: ", completion=" A\n") == Draft("Q: \n A\n", turns)
    assert parsed(prompt="Q", completion=" ") == Drop("empty-completion", bad=True)
    assert parsed(prompt="", completion="A") == Drop("empty-prompt", bad=True)
    assert parsed(prompt=None, completion=None) == Drop("empty-completion", bad=True)


def test_a_pair_of_turns_is_a_chat() -> None:
    assert parsed(prompt=ASKED[:1], completion=ASKED[1:]) == Draft("Hi\nHello", CHAT)
    assert parsed(prompt=[{"role": "x"}], completion=ASKED[1:]) == Drop("unknown-role", '"x"', bad=True)
    refused("a.jsonl:1", "'prompt' holds a text, not a list of turns", prompt="Hi", completion=ASKED[1:])


def test_alpaca() -> None:
    with_input = parsed(instruction="Sum up.", input="A tale.", output="Short.", text="Below is an instruction ...")
    assert with_input == Draft(
        "Sum up.\n\nA tale.\nShort.", (Turn("user", "Sum up.\n\nA tale."), Turn("assistant", "Short."))
    )
    for nothing in ({}, {"input": ""}, {"input": None}):
        assert parsed(instruction="Hi", output="Hello", **nothing) == Draft("Hi\nHello", CHAT)
    assert parsed(instruction="Hi", output=" ") == Drop("empty-turn", "assistant", bad=True)
    assert parsed(instruction="", output="Hello") == Drop("empty-turn", "user", bad=True)
    own = parsed(instruction="Hi", output="Hello", system="Be kind.")
    assert own == Draft("Hi\nHello", (Turn("system", "Be kind."), *CHAT))


@pytest.mark.parametrize(
    "turns",
    [
        HI,
        ASKED,
        [HI[0], ASKED[1]],
        [{"from": "Human ", "value": "Hi"}, {"from": "GPT", "value": "Hello"}],
        [{"speaker": "user", "text": "Hi"}, {"speaker": "bot", "text": "Hello"}],
        [{"role": None, "from": "human", "value": "Hi", "content": None}, ASKED[1]],
        [{"role": "system", "content": " "}, *ASKED],
        [{"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}, ASKED[1]],
    ],
)
def test_chats_in_every_spelling(turns: list[dict[str, Any]]) -> None:
    for format in ("auto", "sharegpt", "messages"):
        assert parsed(format, conversations=turns) == Draft("Hi\nHello", CHAT)


@pytest.mark.parametrize("written", [json.dumps, repr, lambda said: f" {json.dumps(said, indent=2)}\n"])
def test_a_chat_may_be_written_as_text(written: Callable[[Any], str]) -> None:
    said = [{"role": "user", "content": 'It\'s "2"?\nYes'}, {"role": "assistant", "content": "Ça va", "name": None}]
    plain, cell = row(messages=said), row(messages=written(said))
    for format in ("auto", "messages"):
        layout = decide(format, {}, None, None, [cell])
        assert layout.format == "messages"
        assert layout.parse(cell) == layout.parse(plain)
    pair = row(prompt=written(said[:1]), completion=written(said[1:]))
    assert decide("auto", {}, None, None, [pair]).parse(pair) == layout.parse(plain)


@pytest.mark.parametrize(
    "cell", ["[", "[{", "[{'role': 'user'}", "[{1: 2}]", "[]", "[{}]", "[" * 9999, "[{'role': f()}]"]
)
def test_other_texts_with_brackets_are_texts(cell: str) -> None:
    assert unpacked(cell) == cell
    with pytest.raises(InputError, match="holds a text, not a list of turns"):
        decide("messages", {}, None, None, [row(messages=cell)]).parse(row(messages=cell))


def test_the_spellings_of_roles() -> None:
    spelled = {
        "user": "human user prompter client",
        "assistant": "gpt assistant chatgpt bot model bing bard ai function_call tool_call",
        "system": "system developer",
        "tool": "tool function observation function_response tool_response ipython",
    }
    assert {word: role for role, words in spelled.items() for word in words.split()} == ROLES


def test_turns_of_one_role_may_follow_each_other_and_tools_may_speak() -> None:
    said = [("user", "a"), ("user", "b"), ("tool", "c"), ("assistant", "d"), ("assistant", "e"), ("user", "f")]
    turns = [{"role": role, "content": text} for role, text in said]
    assert parsed(messages=turns) == Draft("a\nb\nc\nd\ne\nf", tuple(Turn(*pair) for pair in said))  # type: ignore[arg-type]


def test_tool_calls_are_read_as_lines_of_json() -> None:
    call = {"name": "weather", "arguments": '{"city": "Åre"}'}
    calls = [{"id": "call_1", "type": "function", "function": call}, {"id": "call_2", "function": call}]
    line = json.dumps(call, ensure_ascii=False)
    for content, expected in ((None, f"{line}\n{line}"), ("Let me see.", f"Let me see.\n{line}\n{line}")):
        said = [ASKED[0], {"role": "assistant", "content": content, "tool_calls": calls}]
        assert parsed(messages=said) == Draft(f"Hi\n{expected}", (CHAT[0], Turn("assistant", expected)))
    old = [ASKED[0], {"role": "assistant", "content": None, "function_call": call}]
    assert parsed(messages=old) == Draft(f"Hi\n{line}", (CHAT[0], Turn("assistant", line)))


@pytest.mark.parametrize(
    ("said", "drop"),
    [
        ([("human", "Hi"), ("narrator", "x")], Drop("unknown-role", '"narrator"', bad=True)),
        ([("human", "Hi"), (None, "x")], Drop("unknown-role", "null", bad=True)),
        ([("human", "Hi"), (7, "x")], Drop("unknown-role", "7", bad=True)),
        ([("gpt", "Hi"), ("human", "x"), ("gpt", "y")], Drop("assistant-first", bad=True)),
        ([("system", "S"), ("gpt", "Hi")], Drop("assistant-first", bad=True)),
        ([("tool", "Hi"), ("gpt", "Hi")], Drop("tool-first", bad=True)),
        ([("human", " \n"), ("gpt", "x")], Drop("empty-turn", "user", bad=True)),
        ([("human", "Hi"), ("gpt", None)], Drop("empty-turn", "assistant", bad=True)),
        ([("human", "Hi"), ("human", "x")], Drop("no-assistant-turn", bad=True)),
        ([("human", "Hi"), ("system", "S"), ("gpt", "x")], Drop("system-not-first", bad=True)),
        ([("system", "S"), ("system", "T"), ("human", "Hi"), ("gpt", "x")], Drop("system-not-first", bad=True)),
        ([("system", "S")], Drop("no-turns", bad=True)),
        ([("system", "")], Drop("no-turns", bad=True)),
        ([], Drop("no-turns", bad=True)),
    ],
)  # fmt: skip
def test_malformed_chats_are_dropped_with_their_reason(said: list[tuple[Any, Any]], drop: Drop) -> None:
    turns = [{"from": role, "value": text} for role, text in said]
    assert parsed("sharegpt", conversations=turns) == drop


def test_a_null_is_no_chat_and_an_image_no_text() -> None:
    assert parsed("messages", messages=None) == Drop("no-turns", bad=True)
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}, ASKED[1]]
    assert parsed(messages=image) == Drop("not-text", '"image_url"', bad=True)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("Hi", "holds a text, not a list of turns: \"Hi\""),
        ({"role": "user"}, "holds an object, not a list of turns"),
        (["Hi"], "turn 1: a text, not an object with a role and a text"),
        ([ASKED[0], {"role": "assistant", "content": 5}], "turn 2: a number, not a text: 5"),
        ([{"role": "user", "content": [{"type": "text", "text": 5}]}], "turn 1: a part without a text"),
    ],
)  # fmt: skip
def test_what_is_no_chat_is_refused_by_its_place(value: Any, part: str) -> None:
    refused("a.jsonl:1", "'messages'", part, format="messages", messages=value)


def test_system_prompts_the_rows_own_wins() -> None:
    def system_of(**columns: Any) -> str:
        draft = parsed(system="The experiment's.", **columns)
        assert isinstance(draft, Draft)
        assert draft.text == "Hi\nHello"
        assert draft.turns[1:] == CHAT
        assert draft.turns[0].role == "system"
        return draft.turns[0].text

    # `system=` is the experiment's here, so that the rows' column has its other name
    said = [{"role": "system", "content": "The chat's."}, *ASKED]
    assert system_of(messages=ASKED) == system_of(instruction="Hi", output="Hello") == "The experiment's."
    assert system_of(messages=ASKED, system_prompt="The row's.") == "The row's."
    assert system_of(messages=ASKED, system_prompt=None) == "The experiment's."
    assert system_of(messages=said) == system_of(messages=said, system_prompt="The chat's.") == "The chat's."
    assert parsed(messages=said, system_prompt="The row's.") == Drop("two-system-prompts", '"The row\'s."', bad=True)


@pytest.mark.parametrize("columns", [{"text": "x"}, {"prompt": "x", "completion": "y"}])
def test_a_system_prompt_without_chats_is_refused(columns: dict[str, str]) -> None:
    refused("data.system_prompt", "for chats", system="Be kind.", **columns)
    refused("data.system_prompt", "for chats", system="Be kind.", template="{a}{b}", a="x", b="y")


def test_templates() -> None:
    filled = parsed(
        template="[GENRE] {genre} [AGE] {meta.age} {{old}} [STORY] {story} <END>",
        genre=["sad", "old", 3, None],
        meta={"age": 12.5},
        story="Once\r\nupon",
    )
    turns = (Turn("prompt", "[GENRE] sad, old, 3 [AGE] 12.5 {old} [STORY] "), Turn("completion", "Once\nupon <END>"))
    assert filled == Draft("sad, old, 3\n12.5\nOnce\nupon", turns)
    assert parsed(template="{a}: {b}", a=None, b=True) == Draft(
        "true", (Turn("prompt", ": "), Turn("completion", "true"))
    )
    assert parsed(template="A: {b}.", b=None) == Drop("empty-completion", bad=True)
    assert parsed(template="{a}{b}", a="", b="x") == Drop("empty-prompt", bad=True)
    again = parsed(template="{a} {b} {a}", a="x", b="y")
    assert again == Draft("x\ny", (Turn("prompt", "x y "), Turn("completion", "x")))


@given(st.dictionaries(st.sampled_from("abc"), st.text(), min_size=3), st.text(alphabet="xyz {}", min_size=1))
def test_a_template_fills_in_as_python_does(values: dict[str, str], literal: str) -> None:
    template = literal.replace("{", "{{").replace("}", "}}") + "<{a}|{b}> {c}!"
    draft = parsed(template=template, **values)
    if isinstance(draft, Draft):
        whole = template.format(
            **{name: text.replace("\r\n", "\n").replace("\r", "\n") for name, text in values.items()}
        )
        assert "".join(turn.text for turn in draft.turns) == whole


@pytest.mark.parametrize(
    ("template", "parts"),
    [
        ("no column", ["it names no column"]),
        (" {story}", ["nothing stands before the last column"]),
        ("A {story", ["brace at character 3"]),
        ("A } {story}", ["brace at character 3"]),
        ("A {} {story}", ["brace at character 3"]),
        ("A: {stori}", ["no column 'stori'", "did you mean 'story'?", "data.template"]),
        ("A: {meta.ag}", ["no column 'meta.ag'", "did you mean 'meta.age'?"]),
        ("A: {meta}", ["a.jsonl:1", "'meta' holds an object with values of its own"]),
        ("A: {many}", ["'many' holds a list with values of its own", "{many.0}"]),
    ],
)
def test_templates_that_cannot_be_filled_are_refused(template: str, parts: list[str]) -> None:
    refused(*parts, template=template, story="Once", meta={"age": 1}, many=[["a"]])


@pytest.mark.parametrize(
    ("columns", "format", "fields", "reason"),
    [
        ({"id": 1, "conversations": HI}, "sharegpt", {"messages": "conversations"},
         "the column 'conversations' holds a list of {from, value}"),
        ({"messages": ASKED, "prompt": "Hi"}, "messages", {"messages": "messages"}, "{role, content}"),
        ({"talk": HI, "text": "x"}, "sharegpt", {"messages": "talk"}, "'talk' holds a list"),
        ({"instruction": "a b", "output": "c", "text": "d"}, "alpaca",
         {"instruction": "instruction", "output": "output"}, "'instruction' and 'output'"),
        ({"category": "x", "Question": "a", "Answer": "b"}, "prompt-completion",
         {"prompt": "Question", "completion": "Answer"}, "'Question' and 'Answer' are a pair"),
        ({"setup": "a", "punchline": "b"}, "prompt-completion", {"prompt": "setup", "completion": "punchline"}, "pair"),
        ({"instruction": "a", "response": "b"}, "prompt-completion",
         {"prompt": "instruction", "completion": "response"}, "pair"),
        ({"title": "A tale", "story": "Once upon"}, "text", {"text": "story"}, "the column 'story' is there"),
        ({"id": "t3_x", "score": 3, "joke": "Why did the"}, "text", {"text": "joke"}, "only column that holds text"),
    ],
)  # fmt: skip
def test_the_format_is_told_by_the_columns(
    columns: dict[str, Any], format: str, fields: dict[str, str], reason: str
) -> None:
    found = layout(row(**columns))
    assert (found.format, found.fields) == (format, fields)
    assert reason in found.reason
    assert found.unused == tuple(name for name in columns if name not in fields.values())


def test_a_text_file_is_text() -> None:
    found = decide("auto", {}, None, None, [Row(0, {"text": "{}"}, "a.txt")])
    assert (found.format, found.fields, found.reason) == ("text", {"text": "text"}, "a text file is taken whole")


def test_the_first_rows_are_looked_at_together() -> None:
    rows = [row(1, id=1), row(2, id=2, messages=[]), row(3, id=3, messages=ASKED)]
    assert layout(*rows).format == "messages"


@pytest.mark.parametrize(
    "columns",
    [
        {"title": "A tale", "sections": ["Once upon a time"]},  # the title is not all the text that there is
        {"name": "A b", "genre": "c d"},
        {"chosen": [{"role": "user", "content": "Hi there"}], "rejected": HI, "prompt": "Hi there"},
        {"id": 1},
    ],
)
def test_what_no_format_fits_is_refused(columns: dict[str, Any]) -> None:
    names = ", ".join(map(repr, columns))
    refused("a.jsonl:1", "no format fits", f"the columns are {names}", "data.fields.text", "data.template", **columns)


def test_named_columns_decide() -> None:
    one = row(question="Q", answer="A", text="T", meta={"tales": [{"out": "Deep"}]})
    assert layout(one, text="question").fields == {"text": "question"}
    assert layout(one, prompt="text").fields == {"prompt": "text", "completion": "answer"}
    found = layout(one, instruction="question", output="meta.tales.0.out")
    assert (found.format, found.unused) == ("alpaca", ("answer", "text"))
    assert found.parse(one) == Draft("Q\nDeep", (Turn("user", "Q"), Turn("assistant", "Deep")))
    assert found.parse(row(question="Q", meta={"tales": []})) == Drop("empty-turn", "assistant", bad=True)
    with pytest.raises(InputError, match=r"data\.fields\.output alone decide no format"):
        layout(one, output="answer")
    with pytest.raises(InputError, match=r"data\.fields\.text and data\.fields\.prompt alone decide no format"):
        layout(one, text="text", prompt="question")


def test_a_column_with_dots_in_its_name_comes_before_a_path() -> None:
    one = row(**{"a.b": "name", "a": {"b": "path"}})
    assert layout(one, text="a.b").parse(one) == Draft("name")


def test_columns_that_are_not_there() -> None:
    one = row(story="S", tales=[{"out": "x"}])
    with pytest.raises(InputError, match=r"a.jsonl:1: there is no column 'stories'.*'story', 'tales'\n.*mean 'story'"):
        layout(one, text="stories")
    with pytest.raises(InputError, match=r"no column 'tales.0.on'.*\n.*data.fields.text: did you mean 'tales.0.out'"):
        layout(one, text="tales.0.on")
    found = layout(one)
    with pytest.raises(InputError, match=r"a.jsonl:2: there is no column 'story'; the columns are 'stori'"):
        found.parse(row(2, stori="S"))


@pytest.mark.parametrize(
    ("format", "fields", "parts"),
    [
        ("alpaca", {}, ["data.format is alpaca", "instruction and output", "--set data.fields.instruction=NAME"]),
        ("messages", {}, ["no column is known as its messages", "--set data.fields.messages=NAME"]),
        ("alpaca", {"output": "title"}, ["known as its instruction;", "fix: name it"]),
        ("text", {"prompt": "title"}, ["text does not use data.fields.prompt", "the format has data.fields.text"]),
    ],
)
def test_a_format_that_does_not_fit_is_refused(format: str, fields: dict[str, str], parts: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        layout(row(title="A tale", by="A person"), format=format, **fields)
    for part in parts:
        assert part in str(caught.value)


def test_a_template_leaves_no_field_in_use() -> None:
    with pytest.raises(InputError, match=r"template does not use data\.fields\.text"):
        layout(row(a="x", b="y"), template="{a} {b}", text="a")
    with pytest.raises(InputError, match="holds no rows"):
        layout()


@pytest.mark.parametrize(
    ("columns", "parts"),
    [
        ({"text": 17}, ["a.jsonl:1", "'text' holds a number, not a text: 17"]),
        ({"text": True}, ["'text' holds a boolean"]),
        ({"text": ["a"]}, ["'text' holds a list"]),
        (
            {"question": "Why?", "answer": {"text": "x" * 500}},
            ["'answer' holds an object", "…", "data.fields.completion"],
        ),
    ],
)
def test_values_of_another_type_are_refused(columns: dict[str, Any], parts: list[str]) -> None:
    refused(*parts, **columns)


@given(
    st.sampled_from([name for name in FORMATS if name != "template"]),
    st.dictionaries(st.sampled_from(["text", "prompt", "completion", "instruction", "output", "messages"]), JSON),
    st.lists(st.dictionaries(st.sampled_from(["role", "content", "from", "value", "tool_calls"]), JSON), max_size=3),
)
def test_whatever_a_row_holds_it_is_read_dropped_or_refused(
    format: str, columns: dict[str, Any], turns: list[dict[str, Any]]
) -> None:
    for one in (row(**columns), row(**columns | {"messages": turns})):
        for name in (format, "auto"):
            try:
                draft = layout(one, format=name).parse(one)
            except InputError:
                continue
            assert isinstance(draft, Drop) or draft.text.strip()
