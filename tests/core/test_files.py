"""Files are replaced in full or not at all."""

import os

import pytest

from keras_zskd import InputError
from keras_zskd.core.files import check_destination, replacing, write_whole


def test_a_file_is_replaced_once_it_is_written(tmp_path):
    path = tmp_path / "new" / "facts.json"
    write_whole(path, "one")
    with replacing(path) as temporary:
        assert temporary.suffix == path.suffix
        temporary.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two"
    assert [found.name for found in path.parent.iterdir()] == ["facts.json"]


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "facts.json"
    write_whole(path, "one")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("tw")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "one"
    assert [found.name for found in tmp_path.iterdir()] == ["facts.json"]


def test_a_directory_is_no_destination(tmp_path):
    with pytest.raises(InputError, match="`output` must be a file, not a directory"):
        check_destination("output", tmp_path)


def test_destinations_are_checked_without_writing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    check_destination("output", tmp_path / "file")
    check_destination("output", tmp_path / "new" / "deep" / "file")
    with pytest.raises(NotADirectoryError) as found:
        check_destination("output", tmp_path / "file" / "deep" / "file")
    assert found.value.filename == str(tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError) as found:
        check_destination("output", tmp_path / "new" / "file")
    assert found.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
