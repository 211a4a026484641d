"""The architecture: modules import only from lower layers, imports are light, files are short."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = "keras_zskd"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE
MAX_LINES = 400
INTERNALS = (ROOT / "core" / "keras_internals.py").read_text(encoding="utf-8")

# From the lowest layer up. Modules import only from lower layers and from their own package.
# Packages on the same layer do not import each other. `keras_zskd/__init__.py` and `__main__.py`
# are the top level: they may import everything, and nothing imports them.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("core",),
    ("models", "inputs"),
    ("impressions", "distillation", "evaluation", "deploy"),
    ("runs",),
    ("methods",),
    ("benchmark",),
    ("jobs",),
    ("cli",),
)
LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}
TOP_LEVEL = ("__init__", "__main__")


def part_of(path: Path, root: Path = ROOT) -> str:
    """Return the subpackage of a file: the first name below the package."""
    return path.relative_to(root).with_suffix("").parts[0]


def imported_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and full dotted name of everything that a file imports, at any depth.

    `from a import b` counts as `a.b`: the subpackage is the same if b is a module or a name in one.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def upward_imports(path: Path, root: Path = ROOT) -> list[str]:
    """Return a message for each import of a file that is not from a lower layer."""
    own = part_of(path, root)
    if own in TOP_LEVEL:
        return []
    found = []
    for line, name in imported_names(path.read_text(encoding="utf-8")):
        where = f"{path.relative_to(root.parent)}:{line}"
        if name.startswith("."):
            found.append(f"{where} imports {name}; use the absolute name, {PACKAGE}. ...")
            continue
        first, *rest = name.split(".")
        if first != PACKAGE or rest[:1] == [own]:
            continue
        target = rest[0] if rest else ""
        if target not in LAYER_OF:
            found.append(
                f"{where} imports {name} from the top level; import from the module that defines it"
            )
        elif LAYER_OF[target] >= LAYER_OF[own]:
            found.append(f"{where} imports {name}, which is not on a layer below {own}")
    return found


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_package_was_found():
    assert ROOT / "__init__.py" in modules()
    assert ROOT / "models" / "teacher.py" in modules()


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_every_file_has_a_layer(path):
    part = part_of(path)
    assert part in LAYER_OF or part in TOP_LEVEL, (
        f"{relative(path)} has no layer; add {part!r} to LAYERS and to CONTRIBUTING.md"
    )


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_imports_are_from_lower_layers(path):
    assert upward_imports(path) == []


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_file_is_long(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{relative(path)} has {lines} lines; the maximum is {MAX_LINES}"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_flags_are_defined_only_in_cli(path):
    """absl flags are global to the process: a library's flags may clash with those of users."""
    if part_of(path) == "cli":
        return
    names = [name for _, name in imported_names(path.read_text(encoding="utf-8"))]
    assert not [name for name in names if name.startswith(("absl.flags", "absl.app", "argparse"))]


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_private_attributes_of_keras_are_used_in_one_file_only(path):
    """A future Keras may not have them: see `core/keras_internals.py`."""
    if relative(path) == "core/keras_internals.py":
        return
    source = path.read_text(encoding="utf-8")
    private = set(re.findall(r"[\w.]\.(_[a-z]\w+)|\"(_[a-z]\w+)\"", INTERNALS))
    names = {name for pair in private for name in pair if name}
    assert {"_nodes_by_depth", "_inbound_nodes", "_loss_tracker"} <= names
    used = {n.attr for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute)}
    assert not names & used
    assert "keras.src" not in source


def functions_of(path: Path) -> list[str]:
    """Return the names of the public functions and classes of a module."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return [n.name for n in body if isinstance(n, kinds) and not n.name.startswith("_")]


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_public_function_has_the_name_of_its_module(path):
    """`from keras_zskd.x import x` would be ambiguous."""
    assert path.stem not in functions_of(path)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("[a-z]*.py")), ids=relative)
def test_a_module_of_jobs_is_named_by_the_gerund_of_its_function(path):
    stem = path.stem.removesuffix("ing")
    names = functions_of(path)
    assert any(name.split("_")[0] in (stem, stem + "e", stem[:-1]) for name in names), names


def test_importing_the_package_is_light():
    """Only `keras` and its dependencies are imported; other packages are imported where used.

    Parts of Keras and TensorFlow that load on first use (`tf.lite`, `tf.summary` with TensorBoard)
    count as well.
    """
    code = (
        "import sys, keras, tensorflow\n"
        "before = set(sys.modules)\n"
        f"import {PACKAGE}\n"
        f"free = {{{PACKAGE!r}, *sys.stdlib_module_names}}\n"
        "new = set(sys.modules) - before\n"
        "print(*sorted(name for name in new if name.split('.')[0] not in free))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"import {PACKAGE} also imports {done.stdout}"


@pytest.mark.parametrize(
    ("line", "is_fine"),
    [
        ("from keras_zskd.core.errors import InputError", True),
        ("from keras_zskd.models import graph", True),
        ("import keras_zskd.models.teacher", True),
        ("from keras_zskd.impressions.targets import Targets", True),
        ("import keras", True),
        ("from keras_zskd.distillation import losses", False),
        ("from keras_zskd.evaluation import measures", False),
        ("from keras_zskd.jobs.distilling import distill", False),
        ("def f():\n    import keras_zskd.cli", False),
        ("import keras_zskd", False),
        ("from keras_zskd import Teacher", False),
        ("from . import targets", False),
        ("from ..teacher import Teacher", False),
    ],
)
def test_imports_from_higher_layers_are_found(tmp_path, line, is_fine):
    path = tmp_path / PACKAGE / "impressions" / "generator.py"
    path.parent.mkdir(parents=True)
    path.write_text(line + "\n", encoding="utf-8")
    assert (upward_imports(path, tmp_path / PACKAGE) == []) is is_fine


def test_the_wheel_is_tested_without_the_tests_that_need_the_checkout():
    script = (ROOT.parent / ".ci" / "wheel-test").read_text(encoding="utf-8")
    removed = re.search(r"tests/test_\{(.*)\}\.py", script).group(1).split(",")
    of_checkout = re.compile(r'^from benchmarks|ROOT / "docs"|^PACKAGE = ', re.MULTILINE)
    needing = {
        path.stem.removeprefix("test_")
        for path in Path(__file__).parent.glob("test_*.py")
        if of_checkout.search(path.read_text(encoding="utf-8"))
    }
    assert needing | {"prose"} == set(removed)
