import doctest
import inspect
import types

import pytest

import fmnist_sklearn


def test_dir_lists_what_is_public():
    """But for modules, which are there as they would be if all loaded at once."""
    names = {name for name in dir(fmnist_sklearn) if not name.startswith("_")}
    names |= {name for name in vars(fmnist_sklearn) if not name.startswith("_")}
    values = {name: getattr(fmnist_sklearn, name) for name in names}
    modules = {name for name in names if isinstance(values[name], types.ModuleType)}
    assert names - modules == set(fmnist_sklearn.__all__)
    assert {"benchmark", "datasets", "estimators"} < modules


@pytest.mark.parametrize("name", fmnist_sklearn.__all__)
def test_docstring_has_a_summary_and_an_example_that_runs(name):
    value = getattr(fmnist_sklearn, name)
    if callable(value):
        assert value.__module__.startswith("fmnist_sklearn")
        assert len(inspect.getdoc(value).splitlines()[0]) > 20
        examples = doctest.DocTestParser().get_examples(inspect.getdoc(value))
        assert [e for e in examples if doctest.SKIP not in e.options]
