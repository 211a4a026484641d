"""Public names are documented, and the examples in the documentation run."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_zskd
from keras_zskd.runs.run import Run

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generate_api = _load("generate_api")
generate_figures = _load("generate_figures")
generate_help = _load("generate_help")


def public_names(module: types.ModuleType = keras_zskd) -> list[str]:
    """Return all public names, dotted, including those of public modules such as `metrics`."""
    names = []
    for name, value in generate_api.public(module).items():
        dotted = f"{module.__name__}.{name}"
        names.append(dotted)
        if inspect.ismodule(value):
            names.extend(public_names(value))
    return names


def look_up(dotted: str) -> object:
    value: object = keras_zskd
    for name in dotted.split(".")[1:]:
        value = getattr(value, name)
    return value


def module_names() -> list[str]:
    found = pkgutil.walk_packages(keras_zskd.__path__, prefix="keras_zskd.")
    return [info.name for info in found if not info.name.endswith("__main__")]


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]


def examples(page: Path) -> str:
    """Return the interactive examples of a Markdown page as one session."""
    blocks = re.findall(r"^```(?:pycon|python)\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)
    return "\n".join(block for block in blocks if block.lstrip().startswith(">>>"))


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_in_the_reference(name):
    reference = (DOCS / "api.md").read_text(encoding="utf-8")
    assert re.search(rf":: *{re.escape(name)}$", reference, re.M), (
        f"{name} is public but not in docs/api.md; run `python docs/generate_api.py`"
    )


def test_the_reference_is_up_to_date():
    assert generate_api.main(["--check"]) == 0, "run `python docs/generate_api.py`"


def test_the_figures_match_the_results():
    assert generate_figures.main(["--check"]) == 0, "run `python docs/generate_figures.py`"


def test_the_stored_help_matches_the_commands():
    assert generate_help.write(["--check"]) == 0, "run `python docs/generate_help.py`"


def test_a_manually_changed_figure_is_found(tmp_path, monkeypatch, capsys):
    page = tmp_path / "README.md"
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- figures: best.*?end of figures -->", text, re.DOTALL)[0]
    figure = re.search(r"\d\d\.\d\d ± \d\.\d\d", block)[0]
    page.write_text(block.replace(figure, "12.34 ± 0.56"), encoding="utf-8")
    monkeypatch.setattr(generate_figures, "ROOT", tmp_path)
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.setattr(generate_figures, "FIGURES", {"best": generate_figures.best})
    assert generate_figures.main(["--check"]) == 1
    assert "README.md" in capsys.readouterr().err
    assert generate_figures.main([]) == 0
    assert page.read_text(encoding="utf-8") == block


def test_an_unknown_figure_is_rejected():
    with pytest.raises(ValueError, match=r"must be one of .*Received: weather"):
        generate_figures.filled("<!-- figures: weather -->\n<!-- end of figures -->")


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_has_a_docstring_of_its_own(name):
    value = look_up(name)
    if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
        return  # A constant: the docstring of its class does not describe it.
    # Not inspect.getdoc: an inherited docstring describes the class of Keras.
    assert (value.__doc__ or "").strip(), f"{name} has no docstring"


@pytest.mark.parametrize("name", module_names())
def test_the_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    # Names that every example may use without importing them.
    given = {"keras": keras, "np": np, "tf": tf, "directory": str(tmp_path / "new")}
    assert doctest.testmod(module, extraglobs=given, optionflags=FLAGS).failed == 0


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_examples_on_the_pages_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    session = examples(page)
    test = doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0)
    assert doctest.DocTestRunner(optionflags=FLAGS).run(test).failed == 0


def test_the_method_of_the_page_trains_a_student(make_teacher, tmp_path):
    page = (DOCS / "own-method.md").read_text(encoding="utf-8")
    names: dict[str, object] = {"__name__": "own_method_page"}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL).group(1), names)
    method = names["Noise"](num_images=64, epochs=1)
    with Run(keras_zskd.Teacher(make_teacher(), (0, 1)), 0.5, {}, tmp_path, verbose=0) as run:
        trained = method.train(run)
    assert trained.held_out.shape == (1_000, *run.teacher.input_shape)
    assert not np.isin(trained.held_out[0, 0, 0], trained.inputs.arrays["image"]).any()


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_the_links_between_the_pages_resolve(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
