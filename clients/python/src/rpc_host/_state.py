"""What is known of a registration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._description import Description, ResourceType

if TYPE_CHECKING:
    pass
from ._resource import Object, make_resource_class


class ModuleState:
    """What is known of a registration, and from when."""

    def __init__(self, connection: Any, name: str) -> None:
        self.connection = connection
        self.name = name
        self.version = 0
        self._description: Description | None = None
        self._classes: dict[tuple[str | None, str], type] = {}
        self._lock = threading.RLock()
        #: Makes the class of a resource.
        self.make_class: Callable[[ModuleState, ResourceType], type] = make_resource_class

    def __reduce__(self) -> Any:
        raise TypeError("what belongs to a connection cannot be pickled")

    @property
    def known(self) -> Description | None:
        return self._description

    def learn(self, data: Any) -> Description:
        with self._lock:
            if self._description is None or self._description.data != data:
                self._description = Description(data)
                self._classes = {}
                self.version += 1
            return self._description

    def describe(self) -> Description:
        """The description that is known, or a new one."""
        found = self._description
        if found is None:
            found = self.learn(self.connection._describe_data(self.name))
        return found

    def renew(self) -> Description:
        return self.learn(self.connection._describe_data(self.name))

    def forget(self) -> None:
        """Something has changed: it is asked for anew when it is needed."""
        with self._lock:
            self._description = None
            self.version += 1

    def resource_class(self, interface: str | None, name: str) -> type:
        description = self._description
        resource = description.resource(interface, name) if description else ResourceType(name, interface)
        key = (resource.interface, resource.name)
        cls = self._classes.get(key)
        if cls is None:
            cls = self._classes.setdefault(key, self.make_class(self, resource))
        return cls


def class_of(registration: Any, interface: str | None, resource: str) -> type:
    """The class of an object that arrives."""
    if isinstance(registration, ModuleState):
        return registration.resource_class(interface, resource)
    return Object
