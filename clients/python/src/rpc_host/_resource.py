"""Resources as classes, and the objects that live on the host as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _messages as messages
from ._errors import (
    NotFound,
)
from ._exchange import Exchange
from ._frame import Kind
from ._objects import ObjectBase
from ._serving import SERVED

if TYPE_CHECKING:
    from ._description import ResourceType
    from ._state import ModuleState

    pass
from ._function import Function, Method


class ResourceMeta(type):
    """Makes calling a resource's class call its constructor on the host."""

    _rpc_constructor: Function | None
    _rpc_state: ModuleState
    _rpc_resource: ResourceType

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        constructor = cls.__dict__.get("_rpc_constructor")
        if constructor is None:
            raise TypeError(f"{cls.__name__} has no constructor; a function gives its objects")
        return constructor(*args, **kwargs)

    def __repr__(cls) -> str:
        state = cls.__dict__.get("_rpc_state")
        return f"<resource {state.name}.{cls.__name__}>" if state is not None else type.__repr__(cls)

    @property
    def __signature__(cls) -> Any:
        constructor = cls.__dict__.get("_rpc_constructor")
        if constructor is None:
            raise AttributeError("__signature__")
        return constructor.__signature__


class Object(ObjectBase, metaclass=ResourceMeta):
    """An object that lives on the host, in the instance that made it.

    Its class has the methods that its WIT says. It is let go of when nobody holds it here any more, by ``close()``, or
    at the end of a ``with``; :func:`rpc_host.release` does the same where the resource has a ``close`` of its own.
    """

    __slots__ = ()

    def close(self) -> None:
        """Lets go of it, and waits until its destructor has run on the host."""
        release(self)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_exception: object) -> None:
        release(self)


def release(value: ObjectBase) -> None:
    """Lets go of an object of the host's, and waits until its destructor has run. Twice is once."""
    cell = value._rpc
    pairs = cell.session.close_cell(cell)
    link = cell.session.link
    if not pairs or link.ended is not None:
        return
    if not link.can_wait:
        # Called by a destructor, within the connection's own work.
        link.release_later(*pairs[0])
        return
    exchange = Exchange(Kind.RELEASE, messages.release(pairs))
    served = SERVED.get()
    link.begin(exchange, while_serving=served is not None and served.link is link)
    answer = link.wait(exchange)
    if answer.__class__ is not tuple and not isinstance(answer, NotFound):
        raise answer


def make_resource_class(state: ModuleState, resource: ResourceType) -> type:
    """The class of a resource's objects."""
    members: dict[str, Any] = {
        "__slots__": (),
        "__module__": "rpc_host",
        "__qualname__": f"{state.name}.{resource.class_name}",
        "_rpc_state": state,
        "_rpc_resource": resource,
        "_rpc_constructor": None,
    }
    docs = [resource.docs] if resource.docs else []
    if resource.constructor is not None:
        members["_rpc_constructor"] = Function(state, resource.constructor)
        docs.append(str(resource.constructor))
    for name, function in resource.methods.items():
        members[name] = Method(Function(state, function, skip=1))
        docs.append(str(function))
    for name, function in resource.statics.items():
        members[name] = Function(state, function)
        docs.append(str(function))
    members["__doc__"] = f"resource {resource.name}\n\n" + "\n".join(docs)
    return ResourceMeta(resource.class_name, (Object,), members)
