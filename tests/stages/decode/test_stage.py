"""`assay decode` from end to end on a trained run of random weights."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from assay import pipeline
from assay.byhand import manner
from assay.cli.main import main
from assay.core.console import Console
from assay.core.files import read_json, read_lines, write_json
from assay.core.records import Decoding
from assay.core.rundir import LOOKS, RunDir
from assay.model.generate import generate
from assay.stages.decode import laboratory
from assay.stages.decode.stage import NUMBERS

WORDS = ["king", "queen", "lord", "night", "sword", "love", "hate", "speak", "come", "his", "her", "my", "the", "and"]
EXPERIMENT = """\
schema: 1
name: tiny
base: scratch:llama-tiny
data: {source: texts/*.txt, group: {file: true}, split: {dev: 3, test: 8}}
train: {steps: 1, batch_tokens: 128, max_length: 64, eval_every: 1}
decode:
  max_new_tokens: 32
  prompt_words: 4
  per_group: 2
  seeds: 2
  assistant: scratch:gpt2-tiny
  grid: {temperature: [1.2]}
  settings: {careful: {temperature: 0, repetition_penalty: 1.5, no_repeat_ngram: 3}}
  templates: {asked: "Say: {prompt}"}
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    folder = tmp_path_factory.mktemp("decode")
    rng = random.Random(1)
    (folder / "texts").mkdir()
    for n in range(16):
        paragraphs = [" ".join(rng.choice(WORDS) for _ in range(60)) + "." for _ in range(20)]
        (folder / "texts" / f"{n:02}.txt").write_text("\n\n".join(paragraphs))
    (folder / "e.yaml").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASSAY_CACHE", str(folder / "cache"))
        return pipeline.run(
            str(folder / "e.yaml"), runs_dir=folder / "runs", until="train", console=Console(quiet=True)
        ).run


@pytest.fixture(scope="module")
def found(trained: RunDir) -> dict[str, Any]:
    from assay.byhand import decoded

    return decoded(str(trained.path), runs_dir=trained.path.parents[1], console=Console(quiet=True))


def test_the_table_holds_every_setting_with_its_numbers(trained: RunDir, found: dict[str, Any]) -> None:
    assert json.loads(json.dumps(found)) == read_json(trained.decoded)
    assert [row["name"] for row in found["settings"]] == [
        "greedy", "default", "temperature 1.2", "template asked", "careful",
    ]  # fmt: skip
    for row in found["settings"]:
        assert set(row["numbers"]) == set(NUMBERS)
        assert set(row["groups"]["loop"]) == set(found["settings"][0]["groups"]["loop"])
        for cell in row["numbers"].values():
            assert (cell["low"] is None) == (cell["reason"] is not None)
        assert row["cost"]["tokens_per_s"] > 0
    # three dev groups choose, eight others confirm; drawn texts come twice for each prompt, others once
    assert found["prompts"] == {"source": "beginnings of dev texts", "prompts": 6, "groups": 3}
    assert found["confirm"] == {"source": "beginnings of test texts", "prompts": 16, "groups": 8}
    assert [row["cost"]["texts"] for row in found["settings"]] == [6, 12, 12, 12, 6]
    greedy = found["settings"][0]["numbers"]
    assert greedy["similarity"]["mean"] is None
    assert greedy["loop"]["mean"] > 0.5


def test_a_setting_without_loops_is_chosen_and_confirmed_on_other_groups(
    trained: RunDir, found: dict[str, Any]
) -> None:
    loops = {row["name"]: row["numbers"]["loop"]["mean"] for row in found["settings"]}
    assert loops[found["choice"]["name"]] <= 0.05 < loops["greedy"]
    first, second = (set(found[key][0]["groups"]["loop"]) for key in ("settings", "confirmed_on"))
    assert len(first) == 3
    assert len(second) == 8
    assert not first & second
    assert {row["name"] for row in found["confirmed_on"]} >= {found["choice"]["name"], "greedy"}
    assert found["confirmation"]["confirmed"] is True
    test = next(t for t in found["confirmation"]["tests"] if (t["against"], t["number"]) == ("greedy", "loop"))
    assert (test["groups"], test["mean"] < 0) == (8, True)
    assert "default (evaluate.decoding)" in found["confirmation"]["sentence"]


def test_every_text_is_kept_and_a_seed_gives_it_again(trained: RunDir, found: dict[str, Any]) -> None:
    lines = read_lines(trained.decode / "texts.jsonl")
    texts = sum(row["cost"]["texts"] for row in [*found["settings"], *found["confirmed_on"]])
    assert len(lines) == texts
    assert {line["set"] for line in lines} == {"prompts", "confirm"}
    drawn = [line for line in lines if line["setting"] == "default" and line["set"] == "prompts"]
    assert len({(line["prompt_id"], line["seed"]) for line in drawn}) == len(drawn) == 12
    assert len({line["text"] for line in drawn}) > 6
    rows = list(csv.DictReader(io.StringIO((trained.decode / "table.csv").read_text())))
    assert len(rows) == len(found["settings"]) + len(found["confirmed_on"])
    assert [row["setting"] for row in rows if row["chosen"] == "True"] == [found["choice"]["name"]] * 2


def test_killed_and_given_again_it_goes_on(
    trained: RunDir, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from assay.byhand import decoded

    runs = tmp_path / "runs"
    shutil.copytree(trained.path.parents[1], runs)
    run = RunDir(runs / trained.path.parent.name / trained.path.name)
    calls: list[int] = []
    last = 3

    def counted(*args: Any, **kwargs: Any) -> Any:
        if len(calls) == last:
            raise KeyboardInterrupt
        calls.append(1)
        return generate(*args, **kwargs)

    monkeypatch.setattr(laboratory, "generate", counted)
    before = run.decoded.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        decoded(str(run.path), runs_dir=runs, console=Console(quiet=True))
    assert run.decoded.read_bytes() == before
    assert len(list(run.undecoded.iterdir())) == 3
    damaged = sorted(run.undecoded.iterdir())[0]
    damaged.write_text(damaged.read_text()[:100])
    calls.clear()
    last = -1
    again = decoded(str(run.path), runs_dir=runs, console=Console(quiet=True))
    assert len(calls) == len(found["settings"]) + len(found["confirmed_on"]) - 2
    assert not run.undecoded.exists()
    for key in ("settings", "confirmed_on"):
        assert [row["groups"] for row in again[key]] == [row["groups"] for row in found[key]]
    assert again["choice"] == found["choice"]


def test_guessing_ahead_gives_the_same_texts(found: dict[str, Any]) -> None:
    ways = found["speed"]["ways"]
    assert [way["name"] for way in ways] == ["prompt lookup, 10 tokens at a time", "assisted by scratch:gpt2-tiny"]
    for way in ways:
        assert (way["prompts"], way["different"]) == (3, 0)
        assert len(way["ratios"]) == found["speed"]["rounds"]
        assert way["ratio"] == sorted(way["ratios"])[1]


def test_the_look_at_the_test_texts_is_on_record(trained: RunDir, found: dict[str, Any]) -> None:
    (look,) = read_lines(trained.path.parents[1] / LOOKS)
    assert (look["what"], look["run"], look["weights"]) == ("decode", trained.path.name, found["weights"])


def test_page_and_report_show_it(trained: RunDir, found: dict[str, Any]) -> None:
    page = (trained.decode / "decode.html").read_text()
    for words in (found["choice"]["name"], "Guessing ahead", "On other prompts", "Side by side",
                  found["confirmation"]["sentence"][1:]):  # fmt: skip
        assert words in page
    assert "http" not in page.replace("http-equiv", "")
    assert "decode/decode.html" in trained.report.read_text()


def test_generate_and_show_use_the_preset_and_say_so(
    trained: RunDir, found: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(trained.path.parents[1]))
    assert main(["generate", "tiny", "The king"]) == 0
    said = capsys.readouterr()
    assert said.err.count(f"with the preset {found['choice']['name']}") == 1
    assert said.out.startswith("The king")
    assert main(["show", "tiny"]) == 0
    assert f"preset for generating: {found['choice']['name']}" in capsys.readouterr().out
    how = manner("tiny", runs_dir=trained.path.parents[1])
    assert how.setting.decoding.max_new_tokens == 32
    by_hand = manner("tiny", runs_dir=trained.path.parents[1], overrides=["evaluate.decoding.temperature=0.3"])
    assert by_hand.setting.decoding == Decoding(60, 0.3, 0.95)
    assert "instead of the preset" in str(by_hand.note)


def test_a_preset_of_other_weights_is_left_aside(trained: RunDir, found: dict[str, Any]) -> None:
    preset = read_json(trained.preset)
    try:
        write_json(trained.preset, {**preset, "weights": "0" * 64})
        how = manner(str(trained.path), runs_dir=trained.path.parents[1])
    finally:
        write_json(trained.preset, preset)
    assert how.setting.decoding == Decoding(60, 0.8, 0.95)
    assert "was for other weights" in str(how.note)


@pytest.mark.parametrize(
    ("override", "code", "what"),
    [
        ("train.steps=3", 2, "train.steps does not change a run that is there"),
        ("decode.settings={a: {temperature: 0, top_k: 4, penalty_alpha: 0.6}}", 4, "has no contrastive search"),
        ("decode.confirm=[a, b]", 0, "cannot conclude"),
        ("decode.grid.beams=3", 2, "3 beams search"),
        ("decode.max_new_tokens=100000", 2, "no room"),
        ("decode.assistant=scratch:llama-tiny@smollm2-135m-instruct-q4", 2, "another tokenizer"),
    ],
)
def test_what_cannot_be_done_is_said(
    trained: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str], override: str, code: int, what: str
) -> None:
    runs = str(trained.path.parents[1])
    before = trained.preset.read_bytes() if trained.preset.exists() else None
    quick = ["decode.lookup=0", "decode.grid.temperature=[1]", "decode.prompts=[The king, My lord]"]
    argv = [arg for one in [*quick, override] for arg in ("--set", one)]
    assert main(["decode", "tiny", "--runs-dir", runs, *argv]) == code
    said = capsys.readouterr()
    assert what in said.out + said.err
    assert "Traceback" not in said.err
    if code:
        assert (trained.preset.read_bytes() if trained.preset.exists() else None) == before


def test_where_no_held_out_prompt_leaves_room_it_is_said(trained: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    runs = str(trained.path.parents[1])
    assert main(["decode", "tiny", "--runs-dir", runs, "--set", "decode.max_new_tokens=100000"]) == 2
    said = capsys.readouterr()
    assert "no prompt leaves room for 100000 new tokens" in said.err
    assert "Traceback" not in said.err
