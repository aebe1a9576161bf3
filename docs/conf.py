"""Sphinx configuration: `make docs`."""

from importlib.metadata import version as installed

project = "scoreda"
author = "The scoreda developers"
release = version = installed("scoreda")

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax"]
exclude_patterns = ["_build", "examples"]
html_theme = "furo"
html_title = "scoreda"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"
autodoc_member_order = "bysource"
autodoc_typehints = "description"
suppress_warnings = ["myst.xref_missing"]
