"""How Sphinx builds the site: `bash launch/docs.sh`."""

import os
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / "extensions")]
# Modules are imported for their docstrings; nothing is computed on an accelerator.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

from invseg_jax import __version__  # noqa: E402  (the path is set first)

project = "invseg_jax"
author = "the invseg_jax developers"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "plain_docstrings",
    "generated_pages",
]
exclude_patterns = ["_build", "extensions", "**/.ipynb_checkpoints"]

# A reference that leads nowhere is a warning, and launch/docs.sh makes warnings errors. Types of
# other packages are named in signatures and not linked: a build needs no network.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!invseg_jax\.).*")]

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# The tests run the notebooks (tests/docs/test_notebooks.py); what they print stands in their text.
nb_execution_mode = "off"

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
# Counted with the modules of the types, which are not shown.
python_maximum_signature_line_length = 160
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"invseg_jax {version}"
html_static_path = ["static"]
html_css_files = ["invseg.css"]
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0b6e6e", "color-brand-content": "#0b6e6e"},
    "dark_css_variables": {"color-brand-primary": "#5cc4c0", "color-brand-content": "#5cc4c0"},
}
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
