"""The section `decode` of the experiment file: which ways to generate are tried on a trained model, and on what.

It is no part of what makes a run this run: `assay decode RUN` may try others later.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import Field, PlainValidator, ValidationError, field_validator, model_validator

from assay.config.section import Section
from assay.config.values import SUITES, Number, Prompts, Text, near, problem
from assay.core.records import BARE, PROMPT, WORDS, Decoding, Setting

# what is tried where the file names nothing
USUAL: dict[str, list[int | float]] = {
    "temperature": [0.6, 1.0],
    "top_p": [0.9],
    "min_p": [0.1],
    "repetition_penalty": [1.1, 1.2],
}
GREEDY, DEFAULT = "greedy", "default"  # what the chosen setting is held against


class _Keys(Section):
    """The keys of one way to generate."""

    max_new_tokens: int = Field(default=60, ge=1, description="Longest generated text, in tokens.")
    temperature: Number = Field(
        default=0.8, ge=0, description="0 always takes the likeliest token; higher is more varied."
    )
    top_p: Number = Field(
        default=0.95, gt=0, le=1, description="Draw from the likeliest tokens that together have this share."
    )
    top_k: int = Field(default=0, ge=0, description="Draw from so many of the likeliest tokens. 0: from all.")
    min_p: Number = Field(
        default=0.0, ge=0, lt=1, description="Leave out tokens below this share of the likeliest one's probability."
    )
    typical_p: Number = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Draw from the tokens that surprise about as much as is to be expected, with this share together.",
    )
    repetition_penalty: Number = Field(
        default=1.0, gt=0, description="Above 1 tokens that were there already, in the prompt too, become less likely."
    )
    no_repeat_ngram: int = Field(
        default=0, ge=0, description="No n-gram of so many tokens comes twice, the prompt's counted. 0: any may."
    )
    beams: int = Field(
        default=1, ge=1, le=64, description="Beginnings that a beam search keeps; only with temperature 0. 1: none."
    )
    penalty_alpha: Number = Field(
        default=0.0,
        ge=0,
        le=1,
        description="Weight of novelty in contrastive search, with `top_k` candidates and temperature 0. Needs a "
        "transformers that has it; version 5 has not, and says so.",
    )


class DecodingConfig(_Keys):
    """How the sample texts are generated; the same for base and tuned."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        mistake = self.decoding().mistake()
        if mistake:
            raise problem(mistake[0], *(f"evaluate.decoding.{key}" for key in _LATE), fix=mistake[1])
        return self

    def decoding(self) -> Decoding:
        """These values for those who generate."""
        return Decoding(**self.model_dump())


_LATE = ("beams", "penalty_alpha")  # the keys that may contradict others


def _list(what: str) -> dict[str, Any]:
    return {"allowed": f"a list of {what}"}


class GridConfig(Section):
    """What is tried. Without any key of it: temperatures 0.6 and 1, top-p 0.9, min-p 0.1, penalties 1.1 and 1.2."""

    max_new_tokens: list[Annotated[int, Field(ge=1)]] | None = Field(
        default=None, description="Longest generated text, in tokens.", json_schema_extra=_list("integers ≥ 1")
    )
    temperature: list[Annotated[Number, Field(ge=0)]] | None = Field(
        default=None, description="0: greedy, always the likeliest token.", json_schema_extra=_list("numbers ≥ 0")
    )
    top_p: list[Annotated[Number, Field(gt=0, le=1)]] | None = Field(
        default=None, description="Nucleus sampling.", json_schema_extra=_list("numbers > 0 and ≤ 1")
    )
    top_k: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="Draw from so many tokens; 0: from all.", json_schema_extra=_list("integers ≥ 0")
    )
    min_p: list[Annotated[Number, Field(ge=0, lt=1)]] | None = Field(
        default=None, description="Least share of the likeliest token.", json_schema_extra=_list("numbers ≥ 0 and < 1")
    )
    typical_p: list[Annotated[Number, Field(gt=0, le=1)]] | None = Field(
        default=None, description="Locally typical sampling.", json_schema_extra=_list("numbers > 0 and ≤ 1")
    )
    repetition_penalty: list[Annotated[Number, Field(gt=0)]] | None = Field(
        default=None, description="Penalty of tokens that were there; 1: none.", json_schema_extra=_list("numbers > 0")
    )
    no_repeat_ngram: list[Annotated[int, Field(ge=0)]] | None = Field(
        default=None, description="Forbid n-grams to come twice; 0: none.", json_schema_extra=_list("integers ≥ 0")
    )
    beams: list[Annotated[int, Field(ge=1, le=64)]] | None = Field(
        default=None,
        description="Beam search; with temperature 0 only, so with `cross`, or in `decode.settings`.",
        json_schema_extra=_list("integers ≥ 1 and ≤ 64"),
    )
    penalty_alpha: list[Annotated[Number, Field(ge=0, le=1)]] | None = Field(
        default=None,
        description="Contrastive search; with temperature 0 and `top_k` ≥ 2 only.",
        json_schema_extra=_list("numbers ≥ 0 and ≤ 1"),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return value if isinstance(value, list | None) else [value]

    @field_validator("*")
    @classmethod
    def _filled(cls, values: list[Any] | None) -> list[Any] | None:
        if values == []:
            raise problem("is an empty list", fix="give values, or leave the key out")
        return values

    def factors(self) -> dict[str, list[int | float]]:
        """The keys that are tried, with their values."""
        return {key: values for key, values in self.model_dump().items() if values is not None}


def _settings(value: Any) -> dict[str, dict[str, int | float]]:
    example = "{careful: {temperature: 0, repetition_penalty: 1.2}}"
    if not isinstance(value, dict):
        raise problem(f"is {value!r}, which holds no named settings", fix=f"write {example}")
    found = {}
    for name, keys in value.items():
        _named(name)
        if not isinstance(keys, dict) or not keys:
            raise problem(f"has {name}: {keys!r}, which holds no keys", fix=f"write {example}")
        unknown = next((key for key in keys if key not in _Keys.model_fields), None)
        if unknown is not None:
            hint = near(unknown, list(_Keys.model_fields)) or f"it may hold {', '.join(_Keys.model_fields)}"
            raise problem(f"has no key {name}.{unknown}", fix=hint)
        try:
            found[name] = _Keys.model_validate(keys).model_dump(exclude_unset=True)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            key = wrong["loc"][0]
            raise problem(
                f"has {name}.{key}: {wrong['input']!r}, which is not allowed",
                fix=f"see evaluate.decoding.{key} for what it may hold",
            ) from None
    return found


def _templates(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise problem(f"is {value!r}, which holds no named texts", fix='write {asked: "Go on: {prompt}"}')
    for name, text in value.items():
        _named(name)
        if not isinstance(text, str) or text.count(PROMPT) != 1:
            raise problem(f"has {name}: {text!r}, in which the prompt has no place", fix=f"write {PROMPT} once in it")
    return dict(value)


def _named(name: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+( [\w.-]+)*", name) or name in (GREEDY, DEFAULT, BARE):
        raise problem(
            f"has the name {name!r}", fix=f"give letters, digits, - and _, and none of {GREEDY}, {DEFAULT}, {BARE}"
        )


class DecodeConfig(Section):
    """What `assay decode RUN` tries: settings for generating, chosen on one set of prompts, confirmed on another."""

    prompts: Prompts = Field(
        default="held-out",
        description="Prompts that a setting is chosen on. `held-out`: beginnings of dev texts.",
        json_schema_extra={"allowed": f"`held-out`, a suite ({', '.join(SUITES)}), a file, or a list of texts"},
    )
    confirm: Prompts = Field(
        default="held-out",
        description="Other prompts, which the chosen setting is confirmed on. `held-out`: beginnings of test texts, "
        "which counts as a look at them. `[]`: none, and nothing is confirmed.",
        json_schema_extra={"allowed": f"`held-out`, a suite ({', '.join(SUITES)}), a file, or a list of texts"},
    )
    groups: int = Field(default=16, ge=1, description="Held-out groups that prompts are taken from, at most.")
    per_group: int = Field(default=2, ge=1, description="Prompts from each held-out group, at most.")
    prompt_words: int = Field(default=24, ge=1, description="Words of a held-out plain text that make a prompt.")
    seeds: int = Field(default=2, ge=1, description="Texts of each prompt, where they are drawn.")
    max_new_tokens: int = Field(
        default=96,
        ge=1,
        description="Longest text, in tokens, where the grid does not vary it. Loops take some length.",
    )
    grid: GridConfig = Field(default_factory=GridConfig, description=str(GridConfig.__doc__))
    cross: bool = Field(
        default=False,
        description="All combinations of the grid. Without it one key at a time is moved from `evaluate.decoding`.",
    )
    settings: Annotated[dict[str, dict[str, int | float]], PlainValidator(_settings)] = Field(
        default_factory=dict,
        description="More settings under names of their own, which they keep where the grid has them too; a key that "
        "is left out is as in `evaluate.decoding`.",
        json_schema_extra={"allowed": "names, each with keys of `evaluate.decoding`"},
    )
    templates: Annotated[dict[str, str], PlainValidator(_templates)] = Field(
        default_factory=dict,
        description="Words to put around each prompt, as another factor; the bare prompt is always tried.",
        json_schema_extra={"allowed": "names, each with a text that holds `{prompt}`"},
    )
    max_loops: Number = Field(
        default=0.05, ge=0, le=1, description="Share of texts with a loop above which a setting is not chosen."
    )
    lookup: int = Field(
        default=10,
        ge=0,
        description="Tokens that prompt-lookup decoding guesses at a time, timed against plain greedy. 0: not timed.",
    )
    assistant: Text | None = Field(
        default=None,
        description="A smaller model with the same tokenizer that guesses ahead, timed against plain greedy.",
        json_schema_extra={"allowed": "as `base`"},
    )

    @field_validator("prompts")
    @classmethod
    def _asked(cls, value: str | list[str]) -> str | list[str]:
        if value == []:
            raise problem("is an empty list", fix="give prompts, or leave the key out for beginnings of dev texts")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        both = set(self.prompts) & set(self.confirm) if isinstance(self.prompts, list) else set()
        same = both and isinstance(self.confirm, list)
        if same or (self.prompts == self.confirm and self.prompts != "held-out"):
            raise problem(
                "decode.prompts and decode.confirm share prompts: what chose a setting cannot confirm it",
                "decode.confirm", "decode.prompts", fix="give other prompts to confirm it on",
            )  # fmt: skip
        return self


def expand(decode: DecodeConfig, default: Decoding) -> list[Setting]:
    """The settings that are tried: greedy, `evaluate.decoding`, the grid's, then the named ones; none twice.

    One with a name in `decode.settings` keeps it, also where it is a point of the grid, greedy or `evaluate.decoding`.

    Raises:
        PydanticCustomError: a setting contradicts itself, two have one name, or one has two in `decode.settings`.
    """
    always = _always(decode, default)
    start = always[DEFAULT]
    tried: list[tuple[str | None, Decoding, str]] = [(name, one, BARE) for name, one in always.items()]
    tried += _grid(decode, start)
    settings: dict[str, dict[str, Any]] = decode.settings
    tried += [(name, replace(start, **keys), BARE) for name, keys in settings.items()]
    named = _names({name: replace(start, **keys).plain for name, keys in settings.items()})
    found: dict[tuple[Decoding, str], Setting] = {}
    for name, decoding, template in tried:
        mistake = decoding.mistake()
        if mistake:
            keys = [f"decode.grid.{key}" for key in _LATE] + ["decode.settings", "decode.grid"]
            raise problem(
                f"decode: {mistake[0]}", *keys, fix=f"{mistake[1]}: name such a setting whole in decode.settings"
            )
        frame = decode.templates.get(template, PROMPT)
        if (decoding.plain, template) not in found:
            own = named.get(decoding.plain) if template == BARE else None
            called = own or name or _name(decoding, template, decode.max_new_tokens)
            if called in {one.name for one in found.values()}:
                raise problem(
                    f"decode: two settings are called {called!r}", "decode.settings", "decode.grid",
                    fix="give another name in decode.settings, or values that differ in their first six digits",
                )  # fmt: skip
            found[decoding.plain, template] = Setting(called, decoding.plain, template, frame)
    return list(found.values())


def references(decode: DecodeConfig, default: Decoding, settings: Sequence[Setting]) -> list[str]:
    """What greedy decoding and `evaluate.decoding` are called among the settings of `expand`: one name or two."""
    bare = {one.decoding: one.name for one in settings if one.template == BARE}
    return list(dict.fromkeys(bare[one.plain] for one in _always(decode, default).values()))


def _always(decode: DecodeConfig, default: Decoding) -> dict[str, Decoding]:
    """What the chosen setting is held against, and so is always tried."""
    start = replace(default, max_new_tokens=decode.max_new_tokens)
    return {GREEDY: Decoding(decode.max_new_tokens, 0.0, 1.0), DEFAULT: start}


def _names(settings: Mapping[str, Decoding]) -> dict[Decoding, str]:
    """The name that each setting was given."""
    found: dict[Decoding, str] = {}
    for name, decoding in settings.items():
        if found.setdefault(decoding, name) != name:
            raise problem(
                f"decode.settings has one setting under two names, {found[decoding]!r} and {name!r}",
                "decode.settings", fix="leave one of them out, or let them differ",
            )  # fmt: skip
    return found


def _grid(decode: DecodeConfig, start: Decoding) -> Iterator[tuple[str | None, Decoding, str]]:
    """The grid's settings: their name (None: to be told from the whole), decoding and template."""
    factors: dict[str, list[Any]] = dict(decode.grid.factors())
    if not factors and not decode.settings and not decode.templates:
        factors, start = dict(USUAL), replace(start, beams=1, penalty_alpha=0.0)
    if decode.cross:
        names = [BARE, *decode.templates]
        for point in itertools.product(*factors.values()):
            decoding = replace(start, **dict(zip(factors, point, strict=True)))
            yield from ((None, decoding, template) for template in names)
        return
    for key, values in factors.items():
        for value in values:
            yield f"{WORDS[key]} {value:g}", replace(start, **{key: value}), BARE
    yield from ((f"template {template}", start, template) for template in decode.templates)


def _name(decoding: Decoding, template: str, usual: int) -> str:
    parts = [str(decoding)]
    parts += [f"{WORDS['max_new_tokens']} {decoding.max_new_tokens}"] if decoding.max_new_tokens != usual else []
    parts += [f"template {template}"] if template != BARE else []
    return ", ".join(parts)
