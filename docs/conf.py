"""Sphinx configuration; `make docs` builds with warnings as errors."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# Figures that differ from results/ fail the build; `python docs/generate_figures.py` writes them.
subprocess.run(
    [sys.executable, Path(__file__).with_name("generate_figures.py"), "--check"], check=True
)

project = "keras-zskd"
author = "The keras-zskd authors"
copyright = "The keras-zskd authors, Apache-2.0"
release = version = metadata.version("keras-zskd")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
highlight_language = "text"  # Other blocks name their language.
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Constructor arguments are in the docstring of the class.
autoclass_content = "class"
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "keras-zskd"
