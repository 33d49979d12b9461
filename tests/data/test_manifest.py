from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.items import Item, write_items
from assay.data.manifest import read_manifest, write_manifest

SPLITS = ("train", "dev", "test")
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
splits = st.fixed_dictionaries({name: st.lists(st.builds(Item, text, text, text), max_size=6) for name in SPLITS})


def written(folder: Path, items: dict[str, list[Item]]) -> dict[str, Path]:
    paths = {name: folder / f"{name}.parquet" for name in items}
    for name, path in paths.items():
        write_items(path, [items[name]])
    return paths


@settings(max_examples=40)
@given(splits)
def test_the_manifest_lists_the_files(tmp_path_factory: pytest.TempPathFactory, items: dict[str, list[Item]]) -> None:
    folder = tmp_path_factory.mktemp("manifest")
    found = write_manifest(folder / "manifest.parquet", written(folder, items))
    rows = read_manifest(folder / "manifest.parquet")
    for name, own in items.items():
        assert rows[name] == [
            {"id": item.id, "group": item.group, "sha256": item.sha256, "bytes": item.size} for item in own
        ]
        digest = hashlib.sha256("".join(f"{item.id} {item.sha256}\n" for item in own).encode()).hexdigest()
        assert found[name] == {
            "items": len(own), "groups": len({item.group for item in own}),
            "bytes": sum(item.size for item in own), "sha256": digest,
        }  # fmt: skip


def test_a_manifest_sees_ids_contents_and_order(tmp_path: Path) -> None:
    items = [Item("1", "g", "one"), Item("2", "g", "two")]
    variants = [items, items[::-1], [Item("3", "g", "one"), items[1]], [Item("1", "g", "One"), items[1]]]
    hashes = set()
    for own in variants:
        paths = written(tmp_path, dict.fromkeys(SPLITS, own))
        hashes.add(write_manifest(tmp_path / "manifest.parquet", paths)["test"]["sha256"])
    assert len(hashes) == len(variants)


def test_a_damaged_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, written(tmp_path, {name: [Item(name, "g", "text")] for name in SPLITS}))
    assert read_manifest(path, ["dev"])["dev"][0]["id"] == "dev"
    path.write_bytes(path.read_bytes()[:-9])
    for damaged in (path, tmp_path / "none.parquet"):
        with pytest.raises(InputError, match="is no list of prepared items") as caught:
            read_manifest(damaged)
        assert str(damaged) in str(caught.value)
        assert caught.value.fix
