"""Where a connection comes from: a profile, streams, or a child."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from typing import Any

from ._client import CONNECT_TIMEOUT_S, Connection, _end_process, _once
from ._pool import SERVE_THREADS
from ._profile import Profile
from ._transport import StreamTransport, context_of, dial


def pem(text: str | os.PathLike[str] | None) -> str | None:
    """PEM text, given as such or as the path of a file."""
    if text is None or (isinstance(text, str) and "-----BEGIN" in text):
        return text
    try:
        with open(text, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        from ._errors import ProfileError

        raise ProfileError(f"cannot read {os.fspath(text)}: {error}") from None


def profile_of(
    host: str | None,
    port: int | None,
    profile: Profile | str | os.PathLike[str] | None,
    *,
    token: str | None,
    ca: str | os.PathLike[str] | None,
    certificate: str | os.PathLike[str] | None,
    key: str | os.PathLike[str] | None,
    server_name: str | None,
    max_reply_bytes: int | None,
) -> Profile:
    """The profile of what :func:`connect` is given."""
    if profile is None:
        found = Profile.load() if host is None else Profile("")
    else:
        found = profile if isinstance(profile, Profile) else Profile.from_file(profile)
    if host is not None:
        if port is not None:
            address: str | None = f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
        else:
            address = host if host.rpartition(":")[2].isdigit() and ":" in host else f"{host}:7443"
    else:
        address = None
    return found.but(
        address=address,
        token=token,
        ca=pem(ca),
        certificate=pem(certificate),
        key=pem(key),
        server_name=server_name,
        max_reply_bytes=max_reply_bytes,
    )


def connect(
    host: str | None = None,
    port: int | None = None,
    *,
    token: str | None = None,
    ca: str | os.PathLike[str] | None = None,
    profile: Profile | str | os.PathLike[str] | None = None,
    certificate: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    server_name: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = SERVE_THREADS,
) -> Connection:
    """Connects to a host.

    Without ``host``, to that of the ``profile``, or of the one that is found: ``$RPC_HOST_PROFILE``,
    ``./rpc-host-data/client.toml``, ``rpc-host/client.toml`` in the user's configuration directory. What is given
    besides takes the place of what the profile says. ``ca``, ``certificate`` and ``key`` are PEM text or paths.

    ``timeout`` is for connecting, ``call_timeout`` for each call that says nothing itself, both in seconds. ``module``
    is what ``conn.root`` stands for.
    """
    found = profile_of(
        host,
        port,
        profile,
        token=token,
        ca=ca,
        certificate=certificate,
        key=key,
        server_name=server_name,
        max_reply_bytes=max_reply_bytes,
    )
    context = context_of(found)
    return Connection(
        lambda: dial(found, context, timeout),
        found.address,
        token=found.token,
        timeout=timeout,
        call_timeout=call_timeout,
        module=module,
        max_reply_bytes=found.max_reply_bytes,
        serve_threads=serve_threads,
    )


def connect_stdio(
    command: Sequence[str],
    *,
    token: str | None = None,
    timeout: float = CONNECT_TIMEOUT_S,
    call_timeout: float | None = None,
    module: str | None = None,
    max_reply_bytes: int | None = None,
    serve_threads: int = SERVE_THREADS,
    **popen: Any,
) -> Connection:
    """Starts a host as a child, and speaks to it over its standard input and output: ``["ssh", "machine", "rpc-host",
    "serve", "--stdio"]``. Closing the connection ends the child. ``conn.process`` is the child."""
    process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, **popen)
    assert process.stdin is not None and process.stdout is not None
    transport = StreamTransport(process.stdout, process.stdin, owned=True)
    try:
        return Connection(
            _once(transport),
            " ".join(command),
            token=token,
            timeout=timeout,
            call_timeout=call_timeout,
            module=module,
            max_reply_bytes=max_reply_bytes,
            serve_threads=serve_threads,
            process=process,
        )
    except BaseException:
        transport.close()
        _end_process(process)
        raise
