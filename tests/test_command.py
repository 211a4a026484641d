"""The console script as a process: what it writes to standard output and standard error."""

import configparser
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import keras_zskd_command
from keras_zskd import cli

ROOT = Path(__file__).resolve().parent.parent
REMARK = b"I0000 00:00:1795612592.822426   14688 port.cc:153] oneDNN custom operations are on.\n"
ERROR = b"F0000 00:00:1795612592.822426   14688 cpu.cc:1] This processor has no AVX.\n"


def start(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run code in a new process, without environment variables of TensorFlow."""
    inherited = {name: value for name, value in os.environ.items() if "TF_CPP" not in name}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT, env=inherited | environment, capture_output=True, timeout=600,
    )  # fmt: skip


def console_script() -> str:
    """Return the code that an installer writes to `bin/keras-zskd`."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    name, entry = setup["options.entry_points"]["console_scripts"].strip().split(" = ")
    assert name == "keras-zskd"
    module, function = entry.split(":")
    assert module in setup["options"]["py_modules"]
    return f"from {module} import {function}; {function}()"


def command(*arguments: str, **environment: str) -> tuple[int, list[str], str]:
    """Return exit code, lines of standard output, and standard error."""
    done = start(console_script(), *arguments, **environment)
    return done.returncode, done.stdout.decode().split("\n"), done.stderr.decode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "  distill "),
        ("help", "  distill "),
        ("methods", "\nzskd: "),
        ("distill --help", "--teacher"),
    ],
)  # fmt: skip
def test_help_does_not_import_tensorflow(words, said):
    done = start(
        f"{console_script()}; import sys; print(sorted({{'keras', 'tensorflow'}} & set(sys.modules)))",
        *words.split(),
    )
    answer, imported = done.stdout.decode().rstrip("\n").rsplit("\n", 1)
    assert imported == "[]"
    assert said in answer
    assert not done.stderr


def test_a_command_writes_only_its_result(saved_teacher, tmp_path):
    code, lines, errors = command(
        "export", f"--model={saved_teacher}", f"--output={tmp_path / 'teacher.tflite'}"
    )
    assert (code, errors) == (0, "")
    assert any(line.startswith("agreement") for line in lines)


def test_a_distillation_writes_one_line_per_epoch_to_a_file(saved_teacher, tmp_path):
    code, lines, errors = command(
        "distill", f"--teacher={saved_teacher}", "--input_range=0,1",
        "--method=zskd", "--num_impressions=40", "--epochs=3", f"--output_dir={tmp_path / 'run'}",
    )  # fmt: skip
    assert (code, errors) == (0, "")
    assert not [line for line in lines if re.search(r"[\r\b\x1b]", line)]
    first, *epochs, rest = lines[:5]
    assert first.startswith("impression 40/40 - ")
    assert [line[:9] for line in epochs] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert rest == ""
    assert not any("loss" in line for line in lines[5:])


def test_an_error_is_the_only_output(tmp_path):
    code, lines, errors = command("inspect", f"--teacher={tmp_path / 'none.keras'}")
    assert (code, lines) == (2, [""])
    assert re.fullmatch(r"keras-zskd: .*none\.keras.*\n", errors)


def test_log_messages_are_shown_on_request():
    code, _, errors = command("inspect", "--teacher=none.keras", TF_CPP_MIN_LOG_LEVEL="0")
    assert code == 2
    # Which messages there are depends on the processor.
    assert re.search(r"^[IW]\d{4} ", errors, re.MULTILINE)


def test_the_last_messages_are_not_lost():
    """A library may abort in the middle of an import."""
    done = start(
        "import os, signal, keras_zskd_command\n"
        "keras_zskd_command._drop_remarks()\n"
        f"os.write(2, {REMARK + ERROR!r})\n"
        "os.write(2, b'no end of line')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert done.returncode == -signal.SIGKILL
    assert done.stderr == ERROR + b"no end of line"


def test_output_of_python_is_not_filtered():
    done = start(
        "import sys, keras_zskd_command\n"
        "keras_zskd_command._drop_remarks()\n"
        f"print({REMARK.decode()!r}, end='', file=sys.stderr)\n"
        "raise ValueError('wrong')"
    )
    assert done.returncode == 1
    assert done.stderr.startswith(REMARK + b"Traceback")
    assert done.stderr.endswith(b"ValueError: wrong\n")


@pytest.mark.parametrize("closed", [(0, 1), (2,)])
def test_closed_descriptors_do_not_fail(closed, tmp_path):
    written = tmp_path / "written"
    done = start(
        "import os, subprocess, sys\n"
        f"code = {console_script()!r}\n"
        f"close = lambda: [os.close(n) for n in {closed}]\n"
        "arguments = [sys.executable, '-c', code, 'methods', '--json=' + sys.argv[1]]\n"
        "sys.exit(subprocess.run(arguments, preexec_fn=close).returncode)",
        str(written),
    )
    assert done.returncode == 0, done.stderr
    assert written.exists()
    assert done.stderr == b""


def test_a_failed_import_is_reported(tmp_path):
    (tmp_path / "keras.py").write_text(
        f"import os\nos.write(2, {REMARK + ERROR!r})\nraise ImportError('no such library')"
    )
    code, _, errors = command("inspect", PYTHONPATH=str(tmp_path))
    assert code == 1
    assert ERROR.decode() in errors
    assert "Traceback" in errors
    assert "ImportError: no such library" in errors


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("0", "0")])
def test_onednn_is_enabled_unless_the_user_disables_it(given, used, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", given or "")
    if given is None:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setattr("sys.argv", ["keras-zskd", "inspect"])
    found = []
    monkeypatch.setattr(cli, "launch", lambda: found.append(os.environ["TF_ENABLE_ONEDNN_OPTS"]))
    keras_zskd_command.launch()
    assert found == [used]
