"""The same client for :mod:`asyncio`.

>>> from rpc_host import aio
>>> async with aio.connect() as conn:
...     await conn.upload_module("calc.wasm", name="calc")
...     await conn.modules.calc.add(2, 3)
5

Names are looked up when they are called, so nothing has to be awaited on the way: ``conn.modules.calc.add`` is there at
once, and says what is wrong when it is called. A connection belongs to the loop that it was made in.
"""

from __future__ import annotations

from ._client import Connection
from ._connect import connect, connect_stdio
from ._function import AsyncFunction, Object, release
from ._lease import Lease
from ._modules import Modules

__all__ = ["AsyncFunction", "Connection", "Lease", "Modules", "Object", "connect", "connect_stdio", "release"]
