"""Files are replaced in full or not at all."""

import pytest

from keras_zskd.core.files import replacing, write_whole


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
