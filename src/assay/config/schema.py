"""The experiment file's schema: every key, with its unit, its default and what it may hold.

The models are the one place where a key exists. The loader's messages, the nearest valid key, and the
reference page are all made from them.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assay.config.data import DataConfig
from assay.config.decode import DecodeConfig, expand
from assay.config.evaluate import EvaluateConfig
from assay.config.section import Section
from assay.config.sweep import Matrix
from assay.config.train import AdapterConfig, TrainConfig
from assay.config.values import Slug, Text


class Experiment(Section):
    """One experiment: a base model, a text, and how to train and compare."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this file's schema.")
    name: Slug = Field(
        description="Names the runs' folder.",
        json_schema_extra={"allowed": "letters, digits, `.`, `_` and `-`, a letter or digit first"},
    )
    base: Text = Field(
        description="The model to start from; `assay models` lists the aliases. Folders count from this file.",
        json_schema_extra={"allowed": "an alias, a Hub id (`owner/name@revision`), a folder, or `scratch:<preset>`"},
    )
    seed: int = Field(
        default=42, ge=0, le=2**32 - 1, description="Seed of the adapter's start, the order of the data and dropout."
    )
    data: DataConfig = Field(description=str(DataConfig.__doc__))
    adapter: AdapterConfig = Field(default_factory=AdapterConfig, description=str(AdapterConfig.__doc__))
    train: TrainConfig = Field(default_factory=TrainConfig, description=str(TrainConfig.__doc__))
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig, description=str(EvaluateConfig.__doc__))
    decode: DecodeConfig = Field(default_factory=DecodeConfig, description=str(DecodeConfig.__doc__))
    track: list[Literal["tensorboard", "trackio", "wandb", "mlflow"]] = Field(
        default_factory=list,
        description="Where the training's numbers are mirrored as they come; the run's own files stay the record.",
        json_schema_extra={"allowed": "a list of tensorboard, trackio, wandb and mlflow"},
    )

    @model_validator(mode="after")
    def _decodable(self) -> Self:
        expand(self.decode, self.evaluate.decoding.decoding())
        return self


def sections(model: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Every section below `model`, outermost first, with its dotted key."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield f"{prefix}{name}", info.annotation
            yield from sections(info.annotation, f"{prefix}{name}.")


def leaves(model: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below `model` that holds a value, in the schema's order, with its dotted key."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{info.alias or name}", info


def allowed(info: FieldInfo) -> str:
    """What a key may hold, in words: ``an integer ≥ 1``, ``one of constant, linear, cosine``."""
    if isinstance(info.json_schema_extra, dict) and "allowed" in info.json_schema_extra:
        return str(info.json_schema_extra["allowed"])
    kind = kind_of(info)
    if get_origin(kind) is Literal:
        values = [str(value) for value in get_args(kind)]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    bounds: list[str] = []
    for rule in info.metadata:
        match rule:
            case Ge(ge=bound):
                bounds.append(f"≥ {bound}")
            case Gt(gt=bound):
                bounds.append(f"> {bound}")
            case Le(le=bound):
                bounds.append(f"≤ {bound}")
            case Lt(lt=bound):
                bounds.append(f"< {bound}")
    if kind is bool:
        return "`true` or `false`"
    noun = {int: "an integer", float: "a number"}.get(kind, "text") if isinstance(kind, type) else "text"
    return " ".join([noun, " and ".join(bounds)]).strip()


def kind_of(info: FieldInfo) -> Any:
    """The type of a key's value, without None and without the rules around it."""
    kind: Any = info.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def default_text(info: FieldInfo) -> str:
    """A key's default as it would be written in the file, or ``required``."""
    default = info.get_default(call_default_factory=True)
    return "required" if default is PydanticUndefined else json.dumps(default)


def field_docs() -> list[tuple[str, str, str, str]]:
    """(dotted key, what it may hold, default, description) of every key that holds a value."""
    return [
        (key, allowed(info), default_text(info), info.description or "") for key, info in [*leaves(), *leaves(Matrix)]
    ]


def markdown_reference() -> str:
    """The reference page of the experiment file, `docs/experiment-file.md`."""
    lines = [
        "# The experiment file", "",
        "One YAML file describes one experiment. Every key that it may hold stands here; any other key is an error. "
        "On the command line `--set section.key=value` overrides a key, its value written as YAML. `resolved.yaml` in "
        "the run's folder holds every value used, and where it came from.",
    ]  # fmt: skip
    parts: list[tuple[str, type[Section]]] = [("", Experiment), *sections(), *sections(Matrix)]
    rows = field_docs()
    for name, model in parts:
        lines += ["", f"## {name or 'Top level'}", "", str(model.__doc__), ""]
        lines += ["| key | may hold | default | meaning |", "|---|---|---|---|"]
        for key, may_hold, default, meaning in rows:
            if key.rpartition(".")[0] == name:
                shown = default if default == "required" else "none" if default == "null" else f"`{default}`"
                lines.append(f"| `{key}` | {may_hold} | {shown} | {meaning} |".replace("\n", " "))
    return "\n".join(lines) + "\n"
