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
from typing import Any, NamedTuple

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
            raise _unimportable(name, missing, path, folders) from missing
    except BaseException as error:
        raise _unimportable(name, error, path, folders) from error
    sys.path.insert(0, root)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except BaseException as error:
        raise _unimportable(name, error, path, folders) from error


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


def _unimportable(name: str, error: BaseException, path: str | None, folders: list[str]) -> Refused:
    if isinstance(error, ModuleNotFoundError):
        what = f"no module {error.name}"
        remedy = f"install it, or {_where(path, folders)}"
    else:
        what, remedy = f"{type(error).__name__}: {error}", "see whether it can be imported at all"
    return Refused(what=f"the module {name}", reason=f"it cannot be imported: {what}", remedy=remedy)


def _where(path: str | None, folders: list[str]) -> str:
    """Which folder has to be given, and that none of those looked in is that."""
    if path is None or Path(path).is_absolute():
        return "run where it can be imported: --path FOLDER"
    if _file(path, folders) is not None:
        return f"run where it can be imported: --path FOLDER; {path} is there, and is another module"
    looked = ", ".join(folders)
    return f"give --path the folder that holds {path}; {looked or 'this one'} does not"


# -- scripts ------------------------------------------------------------------------------


def _script(path: str | None, folders: list[str]) -> Any:
    file = _file(path, folders)
    if file is None:
        raise Refused(
            what="the script",
            reason=f"there is no file {path}" if path else "it was typed at a prompt or in a notebook",
            remedy=_where(path, folders) if path else "keep the steps in a file",
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
        raise _unimportable(str(file), error, None, folders) from error
    return module


def _refuse_what_runs(file: Path) -> None:
    """Refuse a script that would run its pipeline when it is loaded: we would make everything anew."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        raise Refused(what=f"the script {file}", reason=f"it is no Python: {error}", remedy="") from error
    statements = list(_at_the_top(tree.body))
    classes = {part.name for part in tree.body if isinstance(part, ast.ClassDef)}
    functions = {part.name for part in tree.body if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef))}
    own = _Own(functions, classes, _kept(statements, classes), _imported(statements))
    for statement in statements:
        if isinstance(statement, (ast.With, ast.AsyncWith)) or _runs(statement, own):
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


#: Of another module only what is called so is taken for a pipeline: most calls set something up.
_ENTRIES = frozenset({"main", "run", "run_pipeline", "cli"})
_ENTRIES_OF_MODULES = _ENTRIES - {"run"}  # subprocess.run


class _Own(NamedTuple):
    """The names of a script: its functions and classes, objects of these, and what it imports."""

    functions: set[str]
    classes: set[str]
    objects: set[str]
    imported: set[str]


def _runs(statement: ast.stmt, own: _Own) -> bool:
    """Whether executing the statement calls what the script defines, or an imported entry such as `main`."""
    for call in (node for node in ast.walk(statement) if isinstance(node, ast.Call)):
        name, is_method = _base(call.func)
        if name in own.functions or (name in own.objects and is_method):
            return True
        # `job = Job()` runs nothing by itself; `Job().run()` does, and so may a `Job()` that nobody keeps.
        is_unkept = isinstance(statement, ast.Expr) and statement.value is call
        if name in own.classes and (is_method or is_unkept):
            return True
        if name in own.imported:
            called = call.func.attr if isinstance(call.func, ast.Attribute) else name
            if called in (_ENTRIES_OF_MODULES if is_method else _ENTRIES):
                return True
    return False


def _base(called: ast.expr) -> tuple[str | None, bool]:
    """The name at the root of what is called, and whether an attribute of it is: `Job().run` is `Job`."""
    is_method = False
    while not isinstance(called, ast.Name):
        if isinstance(called, ast.Attribute):
            called, is_method = called.value, True
        elif isinstance(called, ast.Call):
            called = called.func
        else:
            return None, is_method
    return called.id, is_method


def _kept(statements: list[ast.stmt], classes: set[str]) -> set[str]:
    """The objects of the script's own classes by the names that they get."""
    return {
        target.id
        for statement in statements
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id in classes
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name)
    }


def _imported(statements: list[ast.stmt]) -> set[str]:
    """The names that imports give."""
    return {
        (alias.asname or alias.name).partition(".")[0]
        for statement in statements
        if isinstance(statement, (ast.Import, ast.ImportFrom))
        for alias in statement.names
    }


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
