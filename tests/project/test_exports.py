import doctest
import inspect
import types

import pytest

import fmnist_sklearn


def test_all_is_sorted_and_without_repetition():
    """Constants, classes, functions, each by name: the order that ruff keeps."""

    def place(name):
        return not name.isupper(), not name[0].isupper(), name

    assert fmnist_sklearn.__all__ == sorted(set(fmnist_sklearn.__all__), key=place)


def test_all_names_what_is_exported():
    exported = {
        name
        for name, value in vars(fmnist_sklearn).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    lazy = set(fmnist_sklearn.__all__) - exported
    assert not exported - set(fmnist_sklearn.__all__)
    assert all(hasattr(fmnist_sklearn, name) for name in lazy)


def test_dir_lists_what_is_public():
    """But for modules, which are there as they would be if all loaded at once."""
    late = set(dir(fmnist_sklearn)) - {"__version__"}
    modules = {
        name
        for name in late
        if isinstance(getattr(fmnist_sklearn, name), types.ModuleType)
    }
    assert late - modules == set(fmnist_sklearn.__all__)
    assert {"benchmark", "datasets", "estimators"} < modules


@pytest.mark.parametrize("name", fmnist_sklearn.__all__)
def test_docstring_of_each_public_name(name):
    value = getattr(fmnist_sklearn, name)
    if callable(value):
        assert value.__module__.startswith("fmnist_sklearn")
        assert len(value.__doc__.strip().splitlines()[0]) > 20


@pytest.mark.parametrize("name", fmnist_sklearn.__all__)
def test_docstring_has_an_example_that_runs(name):
    value = getattr(fmnist_sklearn, name)
    if callable(value):
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(value))
        assert [e for e in examples if doctest.SKIP not in e.options]


def test_version():
    major, minor, patch = fmnist_sklearn.__version__.split(".")[:3]
    assert major.isdigit()
    assert minor.isdigit()
    assert patch[0].isdigit()
