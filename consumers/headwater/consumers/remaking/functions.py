"""The step's function, found by what its run recorded: a module on the path, or a file.

Importing a module runs what stands at its top, as every import does. A script that was run as
`__main__` is loaded by its path under another name, so what it guards with
`if __name__ == "__main__"` does not run; one that would run its pipeline all the same is refused
before it is loaded.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from headwater.consumers.remaking.refusing import Refused
from headwater.emitter.decorator import Definition, step

SCRIPT = "headwater_remade_script"


def step_function(function: str, path: str | None, folders: list[str], name: str) -> Callable[..., Any]:
    """The step `function` (`module:qualname`), decorated; raises `Refused`.

    `path` is the file, absolute or from a repository's root; `folders` are where it may lie.
    """
    module_name, _, qualified = function.partition(":")
    if "<locals>" in qualified or "<lambda>" in qualified:
        raise Refused(
            what=f"the function {function}",
            reason="it was defined inside another function, so it cannot be imported",
            remedy="define the step at the top of a module",
        )
    module = _script(path, folders) if module_name == "__main__" else _module(module_name, path, folders)
    found: Any = module
    for part in qualified.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise Refused(
                what=f"the function {function}",
                reason=f"{getattr(module, '__file__', module_name)} has no {qualified}",
                remedy="check out the code that was recorded",
            ) from None
    return found if definition_of(found) is not None else _as_step(found, function, name, folders)


def definition_of(function: Any) -> Definition | None:
    """What `@step` made of the function, under other decorators as well; None when it did nothing."""
    seen = 0
    while function is not None and seen < 32:
        for cell in getattr(function, "__closure__", None) or ():
            if isinstance(cell.cell_contents, Definition):
                return cell.cell_contents
        function, seen = getattr(function, "__wrapped__", None), seen + 1
    return None


def _as_step(function: Any, called: str, name: str, folders: list[str]) -> Callable[..., Any]:
    """A function that became a step elsewhere (`step(f)`); it has to be the project's own."""
    code = getattr(function, "__code__", None)
    file = Path(code.co_filename).resolve() if code is not None else None
    if file is None or not any(file.is_relative_to(Path(folder).resolve()) for folder in folders):
        raise Refused(
            what=f"the function {called}",
            reason="it is no step, and no function of this project",
            remedy="run where it is: --path FOLDER",
        )
    decorated: Callable[..., Any] = step(name=name)(function)
    return decorated


def _module(name: str, path: str | None, folders: list[str]) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        root = _root_of(name, path, folders) if name.startswith(missing.name or "\0") else None
        if root is None:
            raise _unimportable(name, missing) from missing
    except BaseException as error:
        raise _unimportable(name, error) from error
    sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except BaseException as error:
        raise _unimportable(name, error) from error


def _root_of(name: str, path: str | None, folders: list[str]) -> str | None:
    """The folder from which `name` is the module in the file that was recorded."""
    file = _file(path, folders)
    parts = name.split(".")
    if file is None:
        return None
    own = file.parent.parts if file.name == "__init__.py" else (*file.parent.parts, file.stem)
    if list(own[-len(parts) :]) != parts:
        return None
    return str(Path(*own[: -len(parts)]))


def _file(path: str | None, folders: list[str]) -> Path | None:
    if path is None:
        return None
    places = [Path(path)] if Path(path).is_absolute() else [Path(folder, path) for folder in folders]
    return next((place for place in places if place.is_file()), None)


def _unimportable(name: str, error: BaseException) -> Refused:
    if isinstance(error, ModuleNotFoundError):
        what = f"no module {error.name}"
        remedy = "install it, or run where it can be imported: --path FOLDER"
    else:
        what, remedy = f"{type(error).__name__}: {error}", "see whether it can be imported at all"
    return Refused(what=f"the module {name}", reason=f"it cannot be imported: {what}", remedy=remedy)


# -- scripts ------------------------------------------------------------------------------


def _script(path: str | None, folders: list[str]) -> Any:
    file = _file(path, folders)
    if file is None:
        raise Refused(
            what="the script",
            reason=f"there is no file {path}" if path else "it was typed at a prompt or in a notebook",
            remedy="run where it is: --path FOLDER" if path else "keep the steps in a file",
        )
    known = sys.modules.get(SCRIPT)
    if known is not None and known.__file__ == str(file):
        return known
    _refuse_what_runs(file)
    specification = importlib.util.spec_from_file_location(SCRIPT, file)
    if specification is None or specification.loader is None:
        raise Refused(what=f"the script {file}", reason="it is no Python file", remedy="")
    module = importlib.util.module_from_spec(specification)
    sys.modules[SCRIPT] = module
    sys.path.insert(0, str(file.parent))
    sys.argv = [str(file)]
    try:
        specification.loader.exec_module(module)
    except BaseException as error:
        raise _unimportable(str(file), error) from error
    return module


def _refuse_what_runs(file: Path) -> None:
    """Refuse a script that would run its pipeline when it is loaded: we would make everything anew."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise Refused(what=f"the script {file}", reason=f"it is no Python: {error}", remedy="") from error
    own = {part.name for part in tree.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for statement in _at_the_top(tree.body):
        called = sorted(own.intersection(_called(statement)))
        if called or isinstance(statement, (ast.With, ast.AsyncWith)):
            raise Refused(
                what=f"the script {file}",
                reason=f"line {statement.lineno} runs the pipeline when the script is loaded",
                remedy='put it below `if __name__ == "__main__":`',
            )


def _at_the_top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that loading the file executes, without definitions and what the guard keeps."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        if isinstance(statement, ast.If):
            guarded = _is_guard(statement.test)
            yield from _at_the_top(statement.orelse if guarded else statement.body + statement.orelse)
        elif isinstance(statement, ast.Try):
            yield from _at_the_top(statement.body + statement.orelse + statement.finalbody)
        else:
            yield statement


def _is_guard(test: ast.expr) -> bool:
    if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    sides = (test.left, test.comparators[0])
    names = [side.id for side in sides if isinstance(side, ast.Name)]
    texts = [side.value for side in sides if isinstance(side, ast.Constant)]
    return names == ["__name__"] and texts == ["__main__"]


def _called(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """The signature that the step's run was recorded by; raises `Refused`."""
    definition = definition_of(function)
    found = definition.signature if definition is not None else None
    if found is None:
        raise Refused(
            what=f"the function {getattr(function, '__qualname__', function)}",
            reason="it has no signature",
            remedy="write it in Python",
        )
    return found
