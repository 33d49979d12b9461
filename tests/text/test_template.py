from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from assay.core.errors import InputError
from assay.core.records import Role, Turn
from assay.text.template import DEFAULT_TEMPLATE, ChatTemplate, Rendered, default_source
from assay.text.tokenizer import TextTokenizer

Make = Callable[..., TextTokenizer]
Templates = dict[str, tuple[str, str]]

NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
CONTROL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
NAMES = ["chatml", "llama-2", "llama-3", "qwen", "zephyr"]

SAID = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(
            ["Hello", " ", "\n", "\n\n", "  ", "assistant", "<|im_end|>", "</s>", "[/INST]", "x", "{{ x }}", "日本"]
        ),
    ),
    min_size=1,
    max_size=5,
).map("".join)
CHATS = st.builds(
    lambda system, pairs: [*([Turn("system", system)] if system else []), *(turn for pair in pairs for turn in pair)],
    st.one_of(st.just(""), SAID),
    st.lists(
        st.tuples(SAID, SAID).map(lambda pair: (Turn("user", pair[0]), Turn("assistant", pair[1]))),
        min_size=1,
        max_size=4,
    ),
)


def compiled(source: str, **named: str) -> ChatTemplate:
    return ChatTemplate(source, named={**NAMED, **named}, control_tokens=CONTROL)


def turns(*said: str) -> list[Turn]:
    roles: tuple[Role, Role] = ("user", "assistant")
    return [Turn(roles[number % 2], text) for number, text in enumerate(said)]


def produced(rendered: Rendered) -> list[str]:
    return [rendered.text[start:end] for start, end in rendered.spans]


def last_spans(rendered: Rendered) -> list[tuple[int, int]]:
    return [span for span in rendered.spans if span[0] >= rendered.last]


def said(rendered: Rendered) -> list[str]:
    return [rendered.text[start:end] for start, end in rendered.content_spans]


def messages(chat: list[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.text} for turn in chat]


@pytest.fixture(scope="module")
def peer(byte_level: Make) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=byte_level().backend, **NAMED)


@pytest.mark.parametrize("name", [*NAMES, "thinking"])
def test_texts_and_prompts_are_those_of_transformers(name: str, templates: Templates, peer: Any) -> None:
    @settings(max_examples=15)
    @given(CHATS)
    def check(chat: list[Turn]) -> None:
        for source in templates[name]:
            own = compiled(source)
            for prompt, text in ((False, own.render(chat).text), (True, own.prompt(chat[:-1]))):
                given_turns = messages(chat[:-1] if prompt else chat)
                assert text == peer.apply_chat_template(
                    given_turns, chat_template=source, tokenize=False, add_generation_prompt=prompt
                )

    check()


@pytest.mark.parametrize("name", NAMES)
def test_spans_without_marks_are_those_of_marks_put_in_by_hand(name: str, templates: Templates) -> None:
    plain, marked = map(compiled, templates[name])
    assert (plain.marked, marked.marked) == (False, True)

    @settings(max_examples=30)
    @given(CHATS)
    def check(chat: list[Turn]) -> None:
        one, other = plain.render(chat), marked.render(chat)
        assert (one.text, one.spans, one.content_spans) == (other.text, other.spans, other.content_spans)
        assert last_spans(one) == last_spans(other) == one.spans[-1:]

    check()


@pytest.mark.parametrize("name", NAMES)
def test_contents_are_what_was_said(name: str, templates: Templates) -> None:
    plain = compiled(templates[name][0])
    strips = name.startswith("llama")

    @settings(max_examples=30)
    @given(CHATS)
    def check(chat: list[Turn]) -> None:
        answers = [turn.text.strip() if strips else turn.text for turn in chat if turn.role == "assistant"]
        rendered = plain.render(chat)
        assert said(rendered) == answers
        assert all(a <= c <= d < b for (a, b), (c, d) in zip(rendered.spans, rendered.content_spans, strict=True))

    check()


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_begins_where_its_prompt_ends_and_ends_with_the_end_of_turn(name: str, templates: Templates) -> None:
    plain = compiled(templates[name][0])
    ends = {"llama-2": "</s>", "llama-3": "<|eot_id|>", "zephyr": "</s>"}

    @settings(max_examples=30)
    @given(CHATS)
    def check(chat: list[Turn]) -> None:
        rendered = plain.render(chat)
        start, end = rendered.spans[-1]
        assert rendered.text.startswith(plain.prompt(chat[:-1]))
        assert start == len(plain.prompt(chat[:-1]))
        assert rendered.text[:end].endswith(ends.get(name, "<|im_end|>"))
        assert rendered.text[end:].strip() == ""

    check()
    assert plain.end_of_turn == ends.get(name, "<|im_end|>")


def test_each_role_sequence_is_looked_up_once(templates: Templates, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = compiled(templates["llama-3"][0])
    plain.render(turns("a", "b", "c", "d"))
    calls = []
    run = ChatTemplate._run
    monkeypatch.setattr(ChatTemplate, "_run", lambda *given: calls.append(1) or run(*given))
    assert said(plain.render(turns("  e", "f\n", "g", "h"))) == ["f", "h"]
    assert len(calls) == 1


def test_a_template_that_drops_earlier_thoughts(templates: Templates) -> None:
    plain, marked = map(compiled, templates["thinking"])
    chat = turns("q", "<think>\nwhy\n</think>\n\na", "q", "<think>\nwho\n</think>\n\nb")
    for template in (plain, marked):
        rendered = template.render(chat)
        assert produced(rendered) == ["a<|im_end|>", "<think>\nwho\n</think>\n\nb<|im_end|>"]
        assert said(rendered)[1] == "<think>\nwho\n</think>\n\nb"
        assert last_spans(rendered) == rendered.spans[1:]


def test_spans_of_a_template_that_drops_thoughts_are_the_marked_ones(templates: Templates) -> None:
    plain, marked = map(compiled, templates["thinking"])
    thoughts = SAID.map(lambda text: f"<think>\n{text}\n</think>\n\n{text}")

    @settings(max_examples=30)
    @given(CHATS, st.lists(thoughts, max_size=3))
    def check(chat: list[Turn], answers: list[str]) -> None:
        chat = [*chat, *turns(*(part for answer in answers for part in ("again?", answer)))]
        assert plain.render(chat).spans == marked.render(chat).spans

    check()


def test_a_prompt_that_goes_on_where_a_turn_has_its_content_at_once() -> None:
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
        "{% if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
        "{{ m.content + '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{% endif %}"
    )
    assert produced(compiled(source).render(turns("q", "a", "q", "b"))) == ["a<|im_end|>", "b<|im_end|>"]


def test_a_turn_without_a_control_token_behind_it_goes_up_to_the_next() -> None:
    source = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}"
    template = compiled(source + "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}")
    assert produced(template.render(turns("q", "a", "q", "b"))) == [" a\n", " b\n"]
    assert template.end_of_turn is None


def test_a_content_that_the_template_rewrites_is_found_between_prompts() -> None:
    source = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{% if m.content == '' %}{{ '(nothing)' }}"
        "{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    rendered = compiled(source).render(turns("q", "", "q", "b"))
    assert (produced(rendered), said(rendered)) == (["(nothing)<|im_end|>", "b<|im_end|>"], ["(nothing)", "b"])


ONLY_LAST_ENDS = "{% for m in messages %}{{ m.role + ': ' + m.content + '\\n' }}{% endfor %}{{ eos_token }}"
SHUFFLED = "{% for m in messages | reverse %}{{ m.role + ': ' + (m.content | upper) + '</s>' }}{% endfor %}"


@pytest.mark.parametrize("source", [ONLY_LAST_ENDS, SHUFFLED])
def test_a_template_that_would_have_to_be_guessed_at_is_refused(source: str) -> None:
    with pytest.raises(InputError, match=r"row 7: what the model is to produce cannot be told in turn 2") as error:
        compiled(source).render(turns("q", "a", "q", "b"), where="row 7")
    assert "{% generation %}" in str(error.value.fix)


def test_the_templates_own_refusal_names_the_item(templates: Templates) -> None:
    for source in templates["llama-2"]:
        with pytest.raises(InputError, match=r"item 3: .*\(user, user\): Conversation roles must alternate") as error:
            compiled(source).render([Turn("user", "a"), Turn("user", "b")], where="item 3")
        assert "data.chat_template" in str(error.value.fix)
        assert "data.clean.repeated_turns" in str(error.value.fix)


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.append(1) }}",
        "{{ messages.__class__ }}{{ [].__class__.__mro__ }}",
        "{% set ns = namespace(__x=1) %}",
        "{% set ns = namespace() %}{% set ns.__x = 1 %}",
        "{{ 1 / 0 }}",
        "{{ missing.attribute }}",
        "{% for i in range(999999999) %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    with pytest.raises(InputError, match="refuses this conversation"):
        compiled(source).render(turns("q", "a"))


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ {'b': '<é>', 'a': 1} | tojson }}", '{"b": "<é>", "a": 1}'),
        ("{{ {'b': 2, 'a': 1} | tojson(sort_keys=true, indent=1) }}", '{\n "a": 1,\n "b": 2\n}'),
        ("{% for i in range(9) %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("  {% if true %}\n  a\n  {% endif %}\n", "  a\n"),
        ("{{ strftime_now('%Y') }}", str(datetime.now().year)),
        ("{% set ns = namespace(n=1) %}{% for i in 'ab' %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}", "3"),
        ("{{ dict(a=1).a }}{{ dict.fromkeys('b').b }}", "1None"),
        ("{{ bos_token }}{{ unk_token }}{{ pad_token is defined }}{{ tools is none }}", "<s>FalseTrue"),
    ],
)
def test_templates_are_written_in_the_jinja_of_transformers(source: str, text: str, peer: Any) -> None:
    assert compiled(source).prompt(turns("q")) == text
    assert peer.apply_chat_template(messages(turns("q")), chat_template=source, tokenize=False) == text


def test_a_filter_around_the_marks_is_noticed() -> None:
    source = "{% filter trim %}{% generation %} {{ messages[0].content }}{% endgeneration %}{% endfilter %}"
    with pytest.raises(InputError, match=r"the marks \{% generation %\} change the text"):
        compiled(source).render(turns("q"), where="row 1")


def test_a_comment_about_marks_is_none() -> None:
    assert not compiled("{# {% generation %} #}{{ messages[0].content }}").marked


def test_text_that_looks_like_our_marks() -> None:
    chat = turns("q", "\ufdd0a\ufdd10<\ufdd0")
    for source in (
        DEFAULT_TEMPLATE,
        DEFAULT_TEMPLATE.replace("{% generation %}", "").replace("{% endgeneration %}", ""),
    ):
        assert produced(compiled(source).render(chat)) == [" \ufdd0a\ufdd10<\ufdd0</s>"]
    with pytest.raises(InputError, match=r"row 2: holds all the characters that Unicode sets aside"):
        compiled(DEFAULT_TEMPLATE).render(turns("q", "".join(map(chr, range(0xFDD0, 0xFDF0)))), where="row 2")


def test_the_default_template() -> None:
    chat = [Turn("system", "Be brief."), *turns("Hi ", " Hello.\n", "Bye", "Bye!")]
    rendered = compiled(DEFAULT_TEMPLATE).render(chat)
    assert rendered.text == "Be brief.\n\nUser: Hi\nAssistant: Hello.</s>\nUser: Bye\nAssistant: Bye!</s>"
    assert (produced(rendered), said(rendered)) == ([" Hello.</s>", " Bye!</s>"], ["Hello.", "Bye!"])
    assert compiled(DEFAULT_TEMPLATE).prompt(chat[:2]) == "Be brief.\n\nUser: Hi\nAssistant:"
    assert compiled(DEFAULT_TEMPLATE, eos_token="").render(turns("a", "b")).text == "User: a\nAssistant: b"
    assert ChatTemplate(DEFAULT_TEMPLATE).prompt([*turns("a"), Turn("tool", "b")]) == "User: a\nTool: b\nAssistant:"


def test_broken_jinja_is_refused_with_its_line() -> None:
    with pytest.raises(InputError, match="chat template, line 2: the chat template is not valid Jinja"):
        ChatTemplate("{{ messages }}\n{% if %}")


def test_of_several_named_templates_the_default_is_taken() -> None:
    both = [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]
    assert default_source(both, "here") == "D"
    assert default_source({"default": "D", "rag": "R"}, "here") == "D"
    assert (default_source("S", "here"), default_source(None, "here")) == ("S", None)
    with pytest.raises(InputError, match="here: has several chat templates and no default one: rag"):
        default_source({"rag": "R"}, "here")


def test_the_hash_sees_source_and_tokens() -> None:
    assert compiled("a").sha256 == compiled("a").sha256
    assert len({compiled("a").sha256, compiled("b").sha256, compiled("a", eos_token="!").sha256}) == 3
