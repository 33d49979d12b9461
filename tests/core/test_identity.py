import pytest

from assay.core.errors import InputError
from assay.core.files import write_json
from assay.core.identity import find_run, make_identity, new_run

PARTS = {
    "schema": 1,
    "base_hash": "b" * 64,
    "data": {"source": "/a/play.txt", "sha256": None, "group": None, "split": {"seed": 0}},
    "content": {"files": [{"name": "play.txt", "sha256": "1" * 64}]},
    "adapter": {"kind": "lora", "rank": 8},
    "train": {"steps": 3, "device": "auto", "save_every": None},
    "seed": 42,
}
OTHER = {"files": [{"name": "play.txt", "sha256": "2" * 64}]}


@pytest.mark.parametrize(
    "change",
    [
        {"train": PARTS["train"] | {"device": "cpu", "save_every": 2}},
    ],
)
def test_what_does_not_change_the_result_does_not_change_the_identity(change):
    assert make_identity(**(PARTS | change)).id == make_identity(**PARTS).id


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"base_hash": "c" * 64},
        {"content": OTHER},
        {"data": PARTS["data"] | {"split": {"seed": 1}}},
        {"adapter": {"kind": "full"}},
        {"train": PARTS["train"] | {"steps": 4}},
        {"seed": 1},
    ],
)
def test_what_changes_the_result_changes_the_identity(change):
    assert make_identity(**(PARTS | change)).id != make_identity(**PARTS).id


def _made(folder, identity):
    run = new_run(folder, identity)
    assert not run.path.exists()
    write_json(run.identity, identity.as_json(base={"spec": "x"}))
    return run


def test_the_newest_run_of_an_identity_is_found(tmp_path):
    identity = make_identity(**PARTS)
    assert find_run(tmp_path / "e", identity) is None
    _made(tmp_path / "e", identity)
    second = _made(tmp_path / "e", identity)
    assert find_run(tmp_path / "e", identity) == second
    assert find_run(tmp_path / "e", make_identity(**(PARTS | {"seed": 1}))) is None


def test_changed_data_of_an_unfinished_run_are_refused_with_the_difference(tmp_path):
    run = _made(tmp_path / "e", make_identity(**PARTS))
    assert find_run(tmp_path / "e", make_identity(**(PARTS | {"content": OTHER}))) is None  # nothing was made yet
    run.finish("prepare", key="k", outputs=[], seconds=1)
    with pytest.raises(InputError, match=r"play\.txt had sha256 111111111111 and has 222222222222"):
        find_run(tmp_path / "e", make_identity(**(PARTS | {"content": OTHER})))


def test_other_files_were_not_changed_but_asked_for(tmp_path):
    run = _made(tmp_path / "e", make_identity(**PARTS))
    run.finish("prepare", key="k", outputs=[], seconds=1)
    run.resolved.write_text('data:\n  source: "/texts/play.txt"  # file\n')
    other = make_identity(**(PARTS | {"content": OTHER}))
    assert find_run(tmp_path / "e", other, {"data.source": "/texts/other/play.txt"}) is None
    with pytest.raises(InputError, match="changed since"):
        find_run(tmp_path / "e", other, {"data.source": "/texts/play.txt"})


def test_changed_data_of_a_finished_run_make_another(tmp_path):
    run = _made(tmp_path / "e", make_identity(**PARTS))
    for stage in ("prepare", "evaluate"):
        run.finish(stage, key="k", outputs=[], seconds=1)
    assert find_run(tmp_path / "e", make_identity(**(PARTS | {"content": OTHER}))) is None
