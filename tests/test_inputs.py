"""What a person would type wrongly, through the command line: one message with place and fix, and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from assay.cli.main import main
from assay.core.files import write_atomic

EXPERIMENT = """\
schema: 1
name: mine
base: scratch:llama-tiny
data:
  source: my.csv
train:
  steps: 3
  learning_rate: 0.001
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(EXPERIMENT)
    rows = "".join(
        f'"Row {i} says something of its own: {i * 7919 % 1000} and {i * 104729 % 997}."\n' for i in range(60)
    )
    (tmp_path / "my.csv").write_text("text\n" + rows)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main([*argv, "--quiet"] if argv[0] != "new" else list(argv))
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("learning_rate: 0.001", "learning_rte: 0.001", ["mine.yaml:8:3", "learning_rte", "learning_rate"]),
        ("learning_rate: 0.001", "learning_rate: fast", ["mine.yaml:8", "train.learning_rate", "fast"]),
        ("base: scratch:llama-tiny", "base: scratch:lama-tiny", ["scratch:lama-tiny", "scratch:llama-tiny"]),
        ("source: my.csv", "source: mi.csv", ["mi.csv", "my.csv"]),
        ("steps: 3", "steps: 3\nadapter: {rank: 0}", ["adapter.rank", "0"]),
        ("steps: 3", "steps: 3\nexport: {gguf: [q8_0]}", ["export"]),
        ("schema: 1\n", "schema: 1\nname: [", ["mine.yaml:"]),
    ],
)
def test_a_wrong_experiment(folder, capsys, old, new, words):
    file = folder / "mine.yaml"
    text = file.read_text()
    assert old in text
    if "\nadapter" in new or "\nexport" in new:
        section = new.partition("\n")[2]
        file.write_text(text + section + "\n")
    else:
        file.write_text(text.replace(old, new))
    code, message = said(capsys, "run", "mine.yaml")
    assert code == 2
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert not (folder / "runs").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("title,note\na,b\n", ["text", "note", "data.fields.text"]),
        ("", ["empty"]),
        ("text\n", ["my.csv"]),
        ("text\none\ntwo\n", ["group", "bring more rows"]),
    ],
)
def test_a_wrong_table(folder, capsys, content, words):
    (folder / "my.csv").write_text(content)
    code, message = said(capsys, "run", "mine.yaml")
    assert (code, "Traceback" in message) == (2, False)
    assert all(word in message for word in words), message


def test_a_missing_experiment(folder, capsys):
    code, message = said(capsys, "run", "mien.yaml")
    assert code == 2
    assert "mine.yaml" in message


def test_a_run_that_is_not_there(folder, capsys):
    code, message = said(capsys, "evaluate", "nothing")
    assert (code, "Traceback" in message) == (2, False)


@pytest.mark.parametrize("value", ["adapter.rank=0", "adapter.rnk=4", "train.learning_rate=fast", "train.steps"])
def test_a_wrong_override(folder, capsys, value):
    code, message = said(capsys, "run", "mine.yaml", "--set", value)
    assert code == 2
    assert f"--set {value}" in message


def test_a_base_on_the_hub_without_a_network(folder):
    """In a process of its own, with the Hub at a port where nothing listens."""
    done = subprocess.run(
        [sys.executable, "-m", "assay", "run", "mine.yaml", "--set", "base=some-org/not-here"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "HF_ENDPOINT": "http://127.0.0.1:9"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert "the Hub cannot be reached" in done.stderr
    assert "--set base=smollm2-135m-instruct-q4" in done.stderr


def test_a_missing_extra_is_named(folder):
    block = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'peft'):\n"
        "            raise ModuleNotFoundError('not in the base install: ' + name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from assay.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )

    def without_torch(*argv: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", block, *argv], capture_output=True, text=True, check=False)

    prepared = without_torch("prepare", "mine.yaml")
    assert prepared.returncode == 0, prepared.stderr
    planned = without_torch("plan", "mine.yaml")
    assert planned.returncode == 0, planned.stderr
    assert "torch is not installed" in planned.stdout + planned.stderr
    trained = without_torch("run", "mine.yaml")
    assert trained.returncode == 4
    assert "pip install 'assay[train]'" in trained.stderr
    assert without_torch("runs").returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_leaves_the_old_file(tmp_path):
    from assay.core.errors import MachineError

    file = tmp_path / "file.json"
    file.write_text("old")

    def write(path: Path) -> None:
        with Path("/dev/full").open("w") as stream:
            stream.write("x" * 100_000)

    with pytest.raises(MachineError, match="no space left") as error:
        write_atomic(file, write)
    assert (error.value.exit_code, file.read_text()) == (4, "old")
    assert list(tmp_path.iterdir()) == [file]


def test_new_writes_an_experiment_that_runs(folder, capsys):
    """`assay new` on a table of 300 short texts, then `assay run` as it stands, but for the base."""
    rows = "".join(
        f'"Text {i} tells that {i * 7919 % 1009} came before {i * 104729 % 997}, and why."\n' for i in range(300)
    )
    Path("table.csv").write_text("text\n" + rows)
    assert main(["new", "table.csv"]) == 0
    assert main(["new", "table.csv"]) == 2  # never over an existing file
    capsys.readouterr()
    code = main(["run", "table.yaml", "--quiet", "--set", "base=scratch:llama-tiny", "--set", "train.steps=3"])
    out = capsys.readouterr()
    assert code == 0, out.err
    assert "report:" in out.out


@pytest.mark.parametrize("place", ["file", "file/deeper", "/proc/foo", "long/" + "n" * 300])
def test_a_runs_directory_that_cannot_be(folder, capsys, place):
    (folder / "file").write_text("mine")
    if place == "/proc/foo" and not Path("/proc/self").exists():
        pytest.skip("needs Linux's /proc")
    code, message = said(capsys, "run", "mine.yaml", "--runs-dir", place)
    assert code in (2, 4), message
    assert "Traceback" not in message
    assert "\n  fix: " in message
    assert place[:9] in message
    assert (folder / "file").read_text() == "mine"


def test_a_score_without_torch_names_the_extra(folder):
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'peft'):\n"
        "            raise ModuleNotFoundError('not in the base install: ' + name, name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "import assay\n"
        "from assay.core.errors import MachineError\n"
        "try: assay.score('scratch:llama-tiny', ['a text'])\n"
        "except MachineError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "pip install 'assay[train]'" in done.stdout
