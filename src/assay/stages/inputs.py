"""What the evaluation reads beside the data: found and readable before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.config.evaluate import EvaluateConfig
from assay.config.values import HELD_OUT
from assay.core.files import sha256_file
from assay.core.optional import installed, missing
from assay.core.records import is_name
from assay.data.sources import source_fingerprint
from assay.data.urls import refuse_secret
from assay.text.suites import generic_texts, prompt_suite, questions


def evaluation_content(evaluate: EvaluateConfig, cache: Path) -> dict[str, Any]:
    """The hashes of the files that hold prompts, questions, texts to retain and tasks; what ships goes by its name.

    Raises:
        InputError: one of them is missing or not what it should be; what ships under no such name is named.
        MachineError: a package is not installed that this takes.
    """
    found: dict[str, Any] = {}
    if evaluate.judge.url:
        fix = "put the key into an environment variable, and name it in evaluate.judge.api_key_env"
        refuse_secret(evaluate.judge.url, where="evaluate.judge.url", fix=fix)
    if isinstance(evaluate.prompts, str) and evaluate.prompts != HELD_OUT:
        prompt_suite(evaluate.prompts)
        found["prompts"] = _hash(evaluate.prompts)
    for name in evaluate.questions:
        questions(name)
    found["questions"] = [_hash(name) for name in evaluate.questions]
    for name in filter(is_name, evaluate.retain):
        generic_texts(name)
    others = [spec for spec in evaluate.retain if not is_name(spec)]
    found["retain"] = source_fingerprint(others, sha256=None, cache=cache) if others else None
    if evaluate.adherence and not installed("sklearn"):
        raise missing("scikit-learn", extra="metrics", where="evaluate.adherence")
    if evaluate.harness and not installed("lm_eval"):
        raise missing("lm_eval", extra="harness", where="evaluate.harness")
    found["harness"] = [sha256_file(Path(name)) if Path(name).is_file() else name for name in evaluate.harness]
    return found


def _hash(name: str) -> str:
    return name if is_name(name) else sha256_file(Path(name))
