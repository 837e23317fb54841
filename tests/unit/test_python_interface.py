"""The names that `headwater.consumers` promises, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest

from headwater import consumers

PUBLIC = [
    "Curation",
    "EmitterReport",
    "Lineage",
    "Progress",
    "Runner",
    "Store",
    "Verification",
    "emitters",
    "open_log",
    "open_store",
    "quarantine",
    "replay",
    "verify",
]


def test_the_public_names_are_these() -> None:
    assert consumers.__all__ == PUBLIC
    assert set(PUBLIC) <= set(dir(consumers))


@pytest.mark.parametrize("name", PUBLIC)
def test_each_name_is_what_it_says(name: str) -> None:
    found = getattr(consumers, name)
    called = found.__name__.rpartition(".")[2] if isinstance(found, ModuleType) else found.__name__
    assert called == name


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        consumers.no_such_name  # noqa: B018 - the access is what is tested


def test_importing_the_package_imports_nothing_else() -> None:
    program = (
        "import sys, headwater.consumers\n"
        "print([name for name in sys.modules if name.startswith(('headwater.', 'sqlalchemy', 'click'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['headwater.consumers']"


def test_a_name_stays_what_it_is_whatever_was_imported_before() -> None:
    """A module of a public name's spelling would take its place in the package once it is imported."""
    program = (
        "import importlib, pkgutil, headwater.consumers as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'headwater.consumers.{module.name}')\n"
        "print([name for name in package.__all__ if type(getattr(package, name)).__name__ == 'module'])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "['quarantine']"
