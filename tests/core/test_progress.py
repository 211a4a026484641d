"""Progress output of training and synthesis, in a terminal and in a file."""

import io
import logging as python_logging
import re
import sys

import keras
import numpy as np
import pytest

from keras_zskd.core import progress
from keras_zskd.inputs.batching import stream
from keras_zskd.runs import backup


class Terminal(io.StringIO):
    def isatty(self):
        return True


class WithoutIsatty:
    """Like the replacement of standard output in some log collectors."""

    def write(self, text):
        return len(text)


@pytest.fixture
def keras_logs():
    keras.utils.disable_interactive_logging()
    yield
    keras.utils.enable_interactive_logging()


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.parametrize("stdout", [Terminal(), io.StringIO()])
def test_a_number_is_not_changed(monkeypatch, verbose, stdout):
    monkeypatch.setattr(sys, "stdout", stdout)
    assert progress.resolved(verbose) == verbose


@pytest.mark.parametrize(
    ("stdout", "resolved"), [(Terminal(), 1), (io.StringIO(), 2), (WithoutIsatty(), 2)]
)
def test_auto_is_a_bar_only_in_a_terminal(monkeypatch, stdout, resolved):
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert progress.resolved("auto") == resolved


def test_auto_is_a_bar_in_a_notebook(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    assert progress.resolved("auto") == 1


def test_lines_go_to_the_log_if_keras_writes_to_the_log(monkeypatch, keras_logs, capsys, caplog):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert progress.resolved("auto") == 2
    with caplog.at_level(python_logging.INFO, logger="absl"):
        progress.show("epoch 2/3", 1.4, {"loss": 0.123456, "rate": 2e-5})
    assert caplog.messages == ["epoch 2/3 - 1 s - loss: 0.1235 - rate: 2e-05"]
    assert capsys.readouterr().out == ""


def _train(path, verbose, callbacks=(), epochs=3):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    return backup.fit(
        model, lambda step: stream(data, 4, 0, step), epochs, 2, path, callbacks, verbose=verbose
    )


@pytest.mark.parametrize("verbose", ["auto", 2])
def test_training_writes_one_line_per_epoch(tmp_path, capsys, verbose):
    history = _train(tmp_path / "state", verbose)
    lines = capsys.readouterr().out.split("\n")
    assert lines.pop() == ""
    assert len(lines) == 3
    for number, (line, loss) in enumerate(zip(lines, history["loss"], strict=True), start=1):
        assert re.fullmatch(rf"epoch {number}/3 - \d+ s - loss: {loss:.4g}", line)


def test_training_in_a_terminal_shows_the_keras_progress_bar(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Terminal())
    _train(tmp_path / "state", "auto")
    printed = sys.stdout.getvalue()
    assert "Epoch 3/3" in printed
    assert "━" in printed
    assert "epoch 3/3" not in printed


def test_training_can_be_silent(tmp_path, capsys):
    _train(tmp_path / "state", 0)
    assert capsys.readouterr().out == ""


def test_resumed_training_counts_all_epochs(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(backup, "_SECONDS", 0.0)

    def stop(epoch, logs):
        if epoch == 2:
            raise KeyboardInterrupt

    killer = keras.callbacks.LambdaCallback(on_epoch_begin=stop)
    with pytest.raises(KeyboardInterrupt):
        _train(tmp_path / "state", "auto", [killer])
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch 1/3", "epoch 2/3"]
    _train(tmp_path / "state", "auto")
    assert [line[:9] for line in capsys.readouterr().out.splitlines()] == ["epoch 3/3"]
