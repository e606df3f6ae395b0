"""Settings of Sphinx, and the tables that are computed when the docs are built."""

import io
import os
import re
import sys
import tomllib
from contextlib import redirect_stdout, suppress
from datetime import date
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import torch
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from sphinx.util import logging

import fmnist_sklearn
from fmnist_sklearn import CLASS_NAMES, RECIPES, LeNet5, MiniVGG, cli, layer_table

# What the package looks like; the records of the benchmarks, and their tables.
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "benchmarks"))
import layout
import looks
import records

project = "fmnist_sklearn"
author = "The fmnist_sklearn developers"
copyright = f"{date.today().year}, {author}"
version = release = fmnist_sklearn.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "matplotlib.sphinxext.plot_directive",
    "myst_parser",  # CHANGELOG.md
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
default_role = None

# The API from the docstrings. Which methods a class shows, its template says: a
# skorch net inherits some eighty, and most are for callbacks.
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

# Each docstring of the API pages is held to numpydoc's rules; what breaks one is a
# warning, and so an error in CI. pyproject.toml says which rules.
_rules = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
_rules = _rules["tool"]["numpydoc_validation"]
numpydoc_validation_checks = set(_rules["checks"])
numpydoc_validation_exclude = set(_rules["exclude"])

plot_formats = [("png", 160)]
plot_html_show_formats = False
plot_html_show_source_link = False
plot_rcparams = looks.STYLE
plot_apply_rcparams = True

# The $ of a console is not copied along.
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"

# The examples run at every build, on the bundled sample.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "within_subsection_order": "looks.reading_order",
    "reset_modules": ("matplotlib", "looks.set_style"),
    "thumbnail_size": (480, 320),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    # The examples that use a class or function, which its page shows.
    "backreferences_dir": "api/generated/examples",
    "doc_module": ("fmnist_sklearn",),
}
# Small batches gain little from more threads, and lose much on a busy machine.
torch.set_num_threads(1)

toc_object_entries_show_parents = "hide"
html_theme = "pydata_sphinx_theme"
html_title = f"fmnist_sklearn {release}"
html_show_sourcelink = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "navbar_align": "left",
    "header_links_before_dropdown": 6,
    "footer_end": [],
    "secondary_sidebar_items": {"index": [], "**": ["page-toc"]},
    "pygments_light_style": "github-light",
    "pygments_dark_style": "github-dark",
}
# Pages that have no neighbours to show at their side.
html_sidebars = {"index": [], "search": [], "genindex": [], "changelog": []}


def code(value):
    """Write a parameter's value as code; nan, where there is none, as nothing."""
    if isinstance(value, float) and value != value:
        return ""
    if isinstance(value, type):
        return f"``{value.__name__}``"
    return f"``{value!r}``"


def command_help(*command):
    """Return what the command prints for --help, on 80 columns."""
    shown = io.StringIO()
    with (
        patch.dict(os.environ, COLUMNS="80"),
        redirect_stdout(shown),
        suppress(SystemExit),
    ):
        cli.main([*command, "--help"])
    return shown.getvalue()


def recipes_of(name):
    """Tabulate the recipes of a classifier: a row a parameter, a column a recipe."""
    recipes = {recipe: dict(models[name]) for recipe, models in RECIPES.items()}
    table = pd.DataFrame(recipes, dtype=object).map(code)
    return table.rename_axis("parameter").reset_index()


# What the expressions in the pages may use.
_NAMES = {
    "CLASS_NAMES": CLASS_NAMES,
    "LeNet5": LeNet5,
    "MiniVGG": MiniVGG,
    "RECIPES": RECIPES,
    "accuracy": records,
    "code": code,
    "command_help": command_help,
    "comparisons": records.read_speed(),
    "layer_table": layer_table,
    "layout": layout,
    "pd": pd,
    "recipes_of": recipes_of,
    "records": records.read_records(),
    "speed": records,
}


def _evaluate(expression):
    return eval(compile(expression, "<docs>", "eval"), dict(_NAMES))


class ComputedTable(Directive):
    """A table whose rows an expression gives, evaluated at the build.

    The content is a Python expression whose value is a data frame. With ``:total:``,
    the last row adds up the column of that name.
    """

    has_content = True
    option_spec = {"total": str}  # noqa: RUF012

    def run(self):
        frame = _evaluate("\n".join(self.content))
        rows = [list(map(_cell, row)) for row in frame.astype(object).to_numpy()]
        if "total" in self.options:
            name = self.options["total"]
            total = dict.fromkeys(frame.columns, "")
            total[frame.columns[0]] = "**total**"
            total[name] = f"**{_cell(int(frame[name].sum()))}**"
            rows.append(list(total.values()))
        header = [str(column).replace("_", " ") for column in frame.columns]
        lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", ""]
        for row in [header, *rows]:
            for position, cell in enumerate(row):
                lines.append(f"   {'*' if position == 0 else ' '} - {cell}")
        parent = nodes.Element()
        self.state.nested_parse(
            StringList(lines, self.state_machine.input_lines.source(0)),
            self.content_offset,
            parent,
        )
        return parent.children


class ComputedText(Directive):
    """Text as it is, which an expression gives, evaluated at the build."""

    has_content = True

    def run(self):
        text = _evaluate("\n".join(self.content))
        return [nodes.literal_block(text, text, language="text")]


def _cell(value):
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, tuple):
        return " x ".join(map(str, value))
    return str(value)


def count_role(role, rawtext, text, lineno, inliner, options=None, content=None):
    """Write the number of learnable parameters of a network, or a sum of numbers."""
    value = _evaluate(text)
    if not isinstance(value, int):
        value = sum(p.numel() for p in value.parameters() if p.requires_grad)
    return [nodes.Text(f"{value:,}")], []


def value_role(role, rawtext, text, lineno, inliner, options=None, content=None):
    """Write the value of an expression as text."""
    return [nodes.Text(str(_evaluate(text)))], []


def quote_fitted_names(app, what, name, obj, options, lines):
    """Quote names such as ``classes_`` in the types of a docstring.

    To reST, a word with an underscore at its end is a link.
    """
    for number, line in enumerate(lines):
        if re.match(r"\w+( : |, )", line) and " : " in line:
            names, kind = line.split(" : ", 1)
            kind = re.sub(r"(?<![`\w])(\w+_)(?![`\w])", r"``\1``", kind)
            lines[number] = f"{names} : {kind}"


# 1,152*  0.9090 ± 0.0008  17,013 (2.09)  67 %  -3.5  5e-4
_NUMBER = re.compile(
    r"[-+~<>]?\d[\d,.]*(e[-+]?\d+)?\*?( ?[%s])?( ?± ?[\d.,]+)?( ?\(.*\))?\*?"
)


def fit_tables(app, doctree):
    """Mark columns of numbers, and wide tables, for the style sheet; let code break.

    A column is one of numbers if most of its cells are: some say "not reached".
    """
    for table in list(doctree.findall(nodes.tgroup)):
        head = next(iter(table.findall(nodes.thead)), None)
        if head is not None and head[0][-1].astext() == "shown by":
            move_tests_below(table)
        if table["cols"] > 6:
            table.parent["classes"].append("wide" if table["cols"] < 12 else "widest")
        rows = [row for part in table.findall(_is_part) for row in part]
        header = sum(len(part) for part in table.findall(nodes.thead))
        for column in range(table["cols"]):
            cells = [row[column] for row in rows if column < len(row)]
            texts = [cell for cell in cells[header:] if cell.astext().strip()]
            numbers = [cell for cell in texts if _is_number(cell)]
            if numbers and len(numbers) >= len(texts) / 2:
                for cell in cells:
                    cell["classes"].append("number")
        for literal in list(table.findall(nodes.literal)):
            parts = re.split(r"(?<=[/_:=(,])(?=\w)", literal.astext())
            literal.clear()
            for part in parts:
                literal += [nodes.Text(part), nodes.raw("", "<wbr>", format="html")]


def move_tests_below(table):
    """Move a last column of tests, which would make every row tall, below its table."""
    tests = nodes.bullet_list()
    rows = [row for part in table.findall(_is_part) for row in part]
    for row in rows:
        names = [literal.astext() for literal in row.pop().findall(_is_code)]
        item = nodes.paragraph("", f"{row[0].astext()}: ")
        for name in names:
            item += [nodes.literal("", name), nodes.Text(" ")]
        if names:
            tests += nodes.list_item("", item)
    table["cols"] -= 1
    table.remove(list(table.findall(nodes.colspec))[-1])
    page, place = table.parent.parent, table.parent.parent.index(table.parent) + 1
    summary = "<summary>Tests of these rows</summary>"
    begin = nodes.raw("", f'<details class="tests">{summary}', format="html")
    page[place:place] = [begin, tests, nodes.raw("", "</details>", format="html")]


def _is_code(node):
    return isinstance(node, nodes.literal)


def _is_part(node):
    return isinstance(node, nodes.thead | nodes.tbody)


def _is_number(cell):
    has_code = any(cell.findall(nodes.literal))
    return not has_code and _NUMBER.fullmatch(cell.astext().strip())


# A template that is not found is passed over in silence, and the methods with it.
_METHODS = (
    "LeNet5Classifier.fit",
    "LeNet5Classifier.predict_proba",
    "MiniVGGClassifier.partial_fit",
    "LeNet5.forward",
    "TrainingCurvesDisplay.from_estimators",
    "SearchHeatmapDisplay.from_search",
    "FitCache.entries",
)


def check_methods(app, env):
    """Warn of methods that should be on the API pages and are not."""
    shown = {name.removeprefix("fmnist_sklearn.") for name in env.domains["py"].objects}
    for name in sorted({*fmnist_sklearn.__all__, *_METHODS} - shown):
        logging.getLogger(__name__).warning("%s is on no page of the API", name)


def unlink_foreign_terms(app, what, name, obj, options, lines):
    """Turn links into the text they show, in docstrings inherited from elsewhere.

    They lead into scikit-learn's own pages.
    """
    if not (getattr(obj, "__module__", None) or "").startswith("fmnist_sklearn"):
        for number, line in enumerate(lines):
            text = re.sub(r":(?:ref|term):`([^<`]+?)(?: *<[^`]*>)?`", r"\1", line)
            lines[number] = text


def setup(app):
    app.add_directive("computed-table", ComputedTable)
    app.add_directive("computed-text", ComputedText)
    app.add_role("count", count_role)
    app.add_role("value", value_role)
    # Before numpydoc, whose priority is the default of 500.
    app.connect("autodoc-process-docstring", quote_fitted_names, priority=400)
    app.connect("autodoc-process-docstring", unlink_foreign_terms, priority=400)
    app.connect("doctree-read", fit_tables)
    app.connect("env-check-consistency", check_methods)
    return {"parallel_read_safe": False}
