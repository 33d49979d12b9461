"""The section `data` of the experiment file: what is read, and how it is cleaned, cut and divided."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from assay.config.section import Section
from assay.config.values import Group, Hash, Held, Number, Pattern, Source, Specs, Text, as_list, problem

SOURCES = (
    "a file, a glob, `https://…`, `hub:<id>[@revision][/<glob>][?config=…&split=…]`, `gutenberg:<number>`, "
    "`pypi:<package>==<version>/<glob>`, or a list of these"
)
Column = Annotated[Text | None, Field(json_schema_extra={"allowed": "a column's name"})]
PATTERNS: JsonDict = {"allowed": "a list of regular expressions"}
HELD: JsonDict = {"allowed": "a share below 1, a number of groups, a source, or a list of sources"}


class FieldsConfig(Section):
    """Which columns are used, where they lack the format's own names; a dotted path reaches into nested values."""

    text: Column = Field(default=None, description="Plain text. Without it: `text`.")
    prompt: Column = Field(default=None, description="What is given, of a pair. Without it: `prompt`.")
    completion: Column = Field(default=None, description="What is to be produced, of a pair. Without it: `completion`.")
    instruction: Column = Field(default=None, description="Of alpaca rows. Without it: `instruction`.")
    input: Column = Field(default=None, description="What an instruction is about; may be empty. Without it: `input`.")
    output: Column = Field(default=None, description="The answer of alpaca rows. Without it: `output`.")
    messages: Column = Field(
        default=None, description="The list of turns. Without it: `conversations` (sharegpt) or `messages`."
    )
    system: Column = Field(default=None, description="A row's own system prompt.")


class ChunkConfig(Section):
    """Cutting long texts, before any tokenizer; a chunk never crosses a group."""

    by: Literal["paragraph", "heading", "length"] | None = Field(
        default=None,
        description="Cut at the ends of paragraphs, at headings, or by length alone. Without it: texts stay whole.",
    )
    max_bytes: int = Field(default=2000, ge=50, description="Longest chunk, in UTF-8 bytes.")
    overlap_bytes: int = Field(
        default=0,
        ge=0,
        description="How much of the end of a training chunk the next one repeats. Held-out chunks never overlap.",
    )

    @model_validator(mode="after")
    def _small_overlap(self) -> Self:
        if self.overlap_bytes * 2 > self.max_bytes:
            raise problem(
                f"data.chunk.overlap_bytes is {self.overlap_bytes} and data.chunk.max_bytes is {self.max_bytes}: most "
                "of the text would be read twice",
                "data.chunk.overlap_bytes",
                "data.chunk.max_bytes",
                fix="give an overlap of at most half a chunk",
            )
        return self


class CleanConfig(Section):
    """Changing and dropping texts; what is changed and dropped is counted, with examples."""

    mojibake: bool = Field(default=False, description="Repair text that was decoded wrongly, such as `cafÃ©`.")
    unicode: bool = Field(
        default=False, description="Unicode in composed form (NFC), without control and invisible characters."
    )
    quotes: bool = Field(default=False, description="Curly quotes to straight ones.")
    whitespace: bool = Field(
        default=False, description="No blanks at line ends, at most one blank line in a row, one kind of space."
    )
    min_bytes: int | None = Field(default=None, ge=1, description="Drop texts (chunks) of fewer UTF-8 bytes.")
    max_bytes: int | None = Field(default=None, ge=1, description="Drop texts (chunks) of more UTF-8 bytes.")
    languages: list[Text] = Field(
        default_factory=list,
        description="Keep texts in these languages only; very short ones cannot be judged and are kept.",
        json_schema_extra={"allowed": "a list of two-letter codes (ISO 639-1)"},
    )
    keep: list[Pattern] = Field(
        default_factory=list, description="Keep only texts in which one of these is found.", json_schema_extra=PATTERNS
    )
    drop: list[Pattern] = Field(
        default_factory=list, description="Drop texts in which one of these is found.", json_schema_extra=PATTERNS
    )
    repeated_turns: Literal["keep", "merge", "drop"] = Field(
        default="keep",
        description="Chats in which one side speaks twice in a row: as they are, as one turn (joined by a newline), "
        "or not at all. Many chat templates refuse them.",
    )
    duplicates: Literal["drop", "keep"] = Field(
        default="drop",
        description="Of equal and nearly equal texts, keep one; or keep all, on one side of the split.",
    )
    near_duplicates: Number | None = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity of word 5-grams from which texts are nearly equal; `null`: equal texts only.",
    )

    @model_validator(mode="after")
    def _room(self) -> Self:
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise problem(
                f"data.clean.min_bytes is {self.min_bytes} and data.clean.max_bytes is {self.max_bytes}: no text would "
                "be left",
                "data.clean.min_bytes",
                "data.clean.max_bytes",
                fix="give min_bytes ≤ max_bytes",
            )
        return self


class SplitConfig(Section):
    """How the groups are divided. Whole groups go to one split, so no text of a test group is trained on."""

    dev: Held = Field(
        default=0.1,
        description="What watches the training (development set).",
        json_schema_extra=HELD,
    )
    test: Held = Field(default=0.2, description="What is held out for the verdict.", json_schema_extra=HELD)
    seed: int = Field(
        default=0, ge=0, le=2**32 - 1, description="Which groups go where; the run's own seed does not change it."
    )
    stratify: Column = Field(
        default=None, description="Give each value of this column its share of dev and test groups."
    )
    train_rows: int | None = Field(
        default=None,
        ge=1,
        description="Train on this many rows (chunks) only, chosen by the seed; a smaller choice lies within a larger. "
        "Without it: all.",
    )

    @model_validator(mode="after")
    def _some_left(self) -> Self:
        shares = [value for value in (self.dev, self.test) if isinstance(value, float)]
        if sum(shares) >= 1:
            raise problem(
                f"dev + test is {sum(shares):g} of the groups, which leaves none to train on",
                "data.split.test",
                "data.split.dev",
                fix="give shares whose sum is below 1",
            )
        return self


class DataConfig(Section):
    """The text, and how it is cleaned, cut, and divided into groups and splits."""

    source: Source = Field(
        description="Where the text is. Relative paths count from this file; by `--set`, from the working folder.",
        json_schema_extra={"allowed": SOURCES},
    )
    sha256: Hash | None = Field(
        default=None,
        description="The expected SHA-256 of the downloaded archive or the single file; checked where given.",
        json_schema_extra={"allowed": "64 hexadecimal digits"},
    )
    format: Literal["auto", "text", "prompt-completion", "alpaca", "sharegpt", "messages", "template"] = Field(
        default="auto", description="What a row holds; `auto` looks at the first rows and says why."
    )
    fields: FieldsConfig = Field(default_factory=FieldsConfig, description=str(FieldsConfig.__doc__))
    template: Text | None = Field(
        default=None,
        description="A text with the names of columns in braces, for the format `template`; the last one is what is "
        "to be produced.",
        json_schema_extra={"allowed": "such as `[GENRE] {genre} [STORY] {story}`"},
    )
    system_prompt: Text | None = Field(
        default=None, description="The system prompt of every chat that has none of its own."
    )
    chat_template: Text | None = Field(
        default=None,
        description="How a chat is written down, in Jinja. Without it: the base's own; a base without one gets plain "
        "`User:` and `Assistant:` lines.",
        json_schema_extra={"allowed": "a Jinja template"},
    )
    chunk: ChunkConfig = Field(default_factory=ChunkConfig, description=str(ChunkConfig.__doc__))
    group: Group | None = Field(
        default=None,
        description="What counts as one independent group, the unit of every interval. Without it the source decides: "
        "rows of a table, files, else chapter headings, else 40 blocks of paragraphs; the reason is recorded.",
        json_schema_extra={
            "allowed": "a column's name, `{heading: regular expression}`, `{file: true}`, `{row: true}` or "
            "`{blocks: number}`"
        },
    )
    clean: CleanConfig = Field(default_factory=CleanConfig, description=str(CleanConfig.__doc__))
    split: SplitConfig = Field(default_factory=SplitConfig, description=str(SplitConfig.__doc__))
    against: Specs = Field(
        default_factory=list,
        description="Benchmark files: training rows that share a passage with them are dropped, counted and shown.",
        json_schema_extra={"allowed": "a list of sources, as in `data.source`"},
    )
    max_rows: int | None = Field(
        default=None, ge=1, description="Read this many rows (or files) at most, the first ones. Without it: all."
    )
    max_bad_rows: Number = Field(
        default=0.01,
        ge=0,
        le=1,
        description="The largest share of malformed rows that is dropped and counted; more are refused.",
    )

    @property
    def sources(self) -> list[str]:
        """`source` as a list."""
        return as_list(self.source)

    @model_validator(mode="after")
    def _template_is_used(self) -> Self:
        if self.template is not None and self.format not in ("auto", "template"):
            raise problem(
                f"data.template is given, but data.format is {self.format}",
                "data.template",
                "data.format",
                fix="set data.format to template, or remove data.template",
            )
        if self.template is None and self.format == "template":
            raise problem(
                "data.format is template, but data.template is not given",
                "data.format",
                fix="write data.template, such as '[GENRE] {genre} [STORY] {story}'",
            )
        return self
