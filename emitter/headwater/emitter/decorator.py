"""`@step`: a function whose calls are runs.

Works on functions, methods, coroutine functions, generators and asynchronous
generators. The function gets the very arguments it was called with, its caller gets the
very object it returned, and an exception passes through untouched. The one exception:
a generator that is returned is handed on inside another, which records each item as it
is yielded; the run lasts until it is exhausted or closed.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar, overload

from headwater.emitter.assets import Asset
from headwater.emitter.code import function_code
from headwater.emitter.column_statements import ColumnsFrom, ColumnStatement, checked
from headwater.emitter.context import activated, active_run
from headwater.emitter.following import FOLLOWED, follow_coroutine, followed, handed_out
from headwater.emitter.naming import Outputs, Place, Plan, argument_names, local_names, plan
from headwater.emitter.parameters import parameters
from headwater.emitter.report import guarded
from headwater.emitter.runs import LiveRun
from headwater.emitter.steps import StepRun, begin
from headwater.emitter.tracking import Verification
from headwater.emitter.walking import fitting_type, inputs_in, outputs_in
from headwater.schemas.errors import Misconfigured, shown
from headwater.schemas.events import AssetRef, Code

P = ParamSpec("P")
R = TypeVar("R")
V = TypeVar("V")

_MODES = (None, "off", "sampled", "full")


@overload
def step(function: Callable[P, R], /) -> Callable[P, R]: ...
@overload
def step(
    *,
    name: str | None = None,
    outputs: Outputs | None = None,
    columns_from: ColumnsFrom | None = None,
    verify_inputs: Verification | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def step(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    outputs: Outputs | None = None,
    columns_from: ColumnsFrom | None = None,
    verify_inputs: Verification | None = None,
) -> Any:
    """Makes each call of a function a run that records what it read and wrote.

    `name` is the step's name (default: the function's). `outputs` names what it returns: a
    text for one output, a sequence by position, a mapping by key; it wins over annotations.
    `columns_from` says from which columns of which inputs those of the output were made
    (`headwater.emitter.column_statements`); raises `Misconfigured` for what is no such statement.
    `verify_inputs` (default: the settings') finds inputs that were changed in place.
    """
    if verify_inputs not in _MODES:
        raise Misconfigured(f"verify_inputs is {shown(verify_inputs)}", remedy="use off, sampled or full")
    said = (name, outputs, verify_inputs, None if columns_from is None else checked(columns_from))
    if function is None:
        return lambda given: _decorated(given, *said, sys._getframe(1).f_locals)
    return _decorated(function, *said, sys._getframe(1).f_locals)


class once(Generic[V]):
    """An attribute worked out when it is first asked for, and kept in the instance.

    Without a lock: the one of `functools.cached_property` (Python 3.11) is shared by all
    instances, and a process forked while another thread held it would wait for ever.
    Threads that ask at the same moment may work it out twice; all get the value kept first.
    """

    def __init__(self, work: Callable[[Any], V]) -> None:
        self._work = work
        self._name = work.__name__

    def __get__(self, instance: object, owner: type | None = None) -> V:
        kept: V = vars(instance).setdefault(self._name, self._work(instance))
        return kept


class Definition:
    """What is the same in all runs of a step; worked out when it first runs."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        outputs: Outputs | None,
        verify: Verification | None,
        columns: ColumnStatement | None,
        scope: Mapping[str, object],
    ) -> None:
        self.function = function
        self.name = name
        self.verify = verify
        self._columns = columns
        self._outputs = outputs
        self._scope = scope

    @once
    def signature(self) -> inspect.Signature | None:
        try:
            return inspect.signature(self.function)
        except (TypeError, ValueError):  # some builtins have none
            return None

    @once
    def code(self) -> Code | None:
        with guarded("code"):
            return function_code(self.function)
        return None

    @once
    def plan(self) -> Plan:
        with guarded("outputs"):
            return plan(self.function, self._outputs, self._scope)
        return Plan()

    @once
    def argument_names(self) -> dict[str, str]:
        return argument_names(self.function, self._scope)

    def begin(self, outer: LiveRun | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> StepRun | None:
        """The run of this call, told with its parameters and inputs; None when that failed."""
        with guarded("step"):
            run = begin(self.name, outer=outer, verify_inputs=self.verify, definition=self)
            arguments = self._arguments(args, kwargs)
            inputs = self._observed(run, arguments)
            settings = {name: value for name, value in arguments.items() if name not in inputs}
            run.started(parameters(settings, without=(Asset,)), self.code)
            for place, ref in inputs.items():
                run.consumed(ref, place)
            return run
        return None

    def _arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.signature is None:
            return {**{str(at): value for at, value in enumerate(args)}, **kwargs}
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError:  # the call itself will raise it, to the caller
            return {}
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        for parameter in self.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        return arguments

    def _observed(self, run: StepRun, arguments: Mapping[str, Any]) -> dict[str, AssetRef]:
        """The assets among the arguments by place; what changed in place is told before the step starts."""
        refs: dict[str, AssetRef] = {}
        guard = guarded("inputs")
        for argument, value in arguments.items():
            with guard:  # each by itself: one odd object must not cost the others
                for place, found in inputs_in(argument, value):
                    name = self.argument_names.get(argument) if place == argument else None
                    ref = run.observed(found, place, name)
                    if ref is not None:
                        refs[place] = ref
                        run.came_in(place, ref, None if self._columns is None else found)
        return refs

    def hand_over(self, run: StepRun, value: object, said: Plan) -> None:
        """Records the assets in `value`, and that the step which gets it reads them."""
        with guarded("outputs"):
            receiver = active_run()
            returned = list(outputs_in(value, said, self.name))
            for found, place in returned:
                ref = _recorded(run, found, place)
                if self._columns is not None and ref is not None:
                    self._state_columns(self._columns, run, found, ref, len(returned))
                if ref is not None and isinstance(receiver, StepRun) and receiver is not run:
                    receiver.consumed(ref, None)

    def _state_columns(
        self, said: ColumnStatement, run: StepRun, found: object, ref: AssetRef, count: int
    ) -> None:
        """What was said of the columns of one output; a wrong statement must not cost the output."""
        with guarded("columns"):
            columns, record = said.of(ref.name, count), run.record_of(found)
            if columns is not None and record is not None and ref.production == run.id:
                run.state_columns(record, columns)

    def finish(self, run: StepRun, value: object, said: Plan | None = None) -> None:
        """Records what the step returned, and that it ended well."""
        try:
            self.hand_over(run, value, self.plan if said is None else said)
        except Exception as error:
            run.fail(error)
            raise
        run.complete()


def _recorded(run: StepRun, found: object, place: Place) -> AssetRef | None:
    if isinstance(found, Asset):
        return run.handed_on(found)
    kind = place.asset_type.type if place.asset_type else fitting_type(found) or "Artifact"
    return run.record_object(found, kind, place.name, place.chosen)


def _decorated(
    function: Any,
    name: str | None,
    outputs: Outputs | None,
    verify_inputs: Verification | None,
    columns: ColumnStatement | None,
    surroundings: Mapping[str, object],
) -> Any:
    if isinstance(function, (staticmethod, classmethod)):
        inner = _decorated(function.__func__, name, outputs, verify_inputs, columns, surroundings)
        return type(function)(inner)
    if not callable(function):
        raise Misconfigured(
            f"@step was given {shown(function)}", remedy="decorate a function: @step or @step(name=…)"
        )
    scope = local_names(function, surroundings)
    definition = Definition(function, name or _name_of(function), outputs, verify_inputs, columns, scope)
    if inspect.iscoroutinefunction(function):
        return _following_coroutine(definition)
    return _following_call(definition)


def _name_of(function: Callable[..., Any]) -> str:
    """`Trainer.fit` for a method, `train` for a function wherever it is defined."""
    qualified = getattr(function, "__qualname__", None) or getattr(
        getattr(function, "func", None), "__qualname__", type(function).__qualname__
    )
    return str(qualified).rpartition("<locals>.")[2].replace("<lambda>", "lambda")


def _following_call(definition: Definition) -> Callable[..., Any]:
    function = definition.function
    lazy = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)

    @functools.wraps(function)
    def step_call(*args: Any, **kwargs: Any) -> Any:
        outer = active_run()
        if lazy:
            # Its body starts with the first item, and so does its run, below whoever called it here.
            begun = functools.partial(definition.begin, outer, args, kwargs)
            return followed(definition, begun, function(*args, **kwargs))
        run = definition.begin(outer, args, kwargs)
        if run is None:
            return function(*args, **kwargs)
        try:
            with activated(run):
                result = function(*args, **kwargs)
        except BaseException as error:
            run.fail(error)
            raise
        if type(result) in FOLLOWED:
            return handed_out(definition, run, result)
        definition.finish(run, result)
        return result

    return step_call


def _following_coroutine(definition: Definition) -> Callable[..., Any]:
    function = definition.function

    @functools.wraps(function)
    async def step_call(*args: Any, **kwargs: Any) -> Any:
        run = definition.begin(active_run(), args, kwargs)
        if run is None:
            return await function(*args, **kwargs)
        return await follow_coroutine(definition, lambda: run, function(*args, **kwargs))

    return step_call
