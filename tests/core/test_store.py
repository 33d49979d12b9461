from assay.core.store import Store


def test_what_is_kept_is_given_again(tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    (source / "a.txt").write_text("one")
    store = Store(tmp_path / "runs")
    assert not store.has("prepare", "key")
    store.keep("prepare", "key", source)
    store.give("prepare", "key", tmp_path / "other")
    assert (tmp_path / "other" / "a.txt").read_text() == "one"
    assert (tmp_path / "other" / "a.txt").stat().st_nlink == 3  # no copies: one file under three names
    assert store.damaged("prepare", "key") == []


def test_a_change_is_noticed(tmp_path):
    store = Store(tmp_path)
    entry = store.put("base-scores", "key", lambda folder: (folder / "x").write_text("1"))
    (entry / "x").write_text("2")
    assert store.damaged("base-scores", "key") == ["x"]
    (entry / "x").unlink()
    assert store.damaged("base-scores", "key") == ["x"]
    store.drop("base-scores", "key")
    assert not store.has("base-scores", "key")
