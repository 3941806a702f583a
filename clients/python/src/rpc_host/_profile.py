"""Where the host is, how it proves itself, and how the client does."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ._errors import ProfileError

__all__ = ["Profile"]

#: Names the file of the profile to load.
VARIABLE = "RPC_HOST_PROFILE"
#: Where a node that was started in this directory has put one.
LOCAL = Path("rpc-host-data/client.toml")
#: A profile is a few lines and a certificate.
MAX_BYTES = 1 << 20
#: As long a message is taken from the host as it lets one be, unless it was told otherwise.
MAX_REPLY_BYTES = 64 << 20

_KEYS = ("address", "server-name", "ca", "token", "certificate", "key")


@dataclass(frozen=True)
class Profile:
    """Where the host is, how it proves itself, and how the client does.

    ``ca``, ``certificate`` and ``key`` are PEM text. Only a host whose certificate comes from the profile's own
    authority is believed; the system's are never asked.
    """

    address: str
    server_name: str | None = None
    ca: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    max_reply_bytes: int = MAX_REPLY_BYTES

    @classmethod
    def load(cls) -> Profile:
        """The profile of the file that ``RPC_HOST_PROFILE`` names; else of ``./rpc-host-data/client.toml``; else of
        ``rpc-host/client.toml`` in the user's configuration directory."""
        named = os.environ.get(VARIABLE)
        if named:
            return cls.from_file(named)
        places = [LOCAL, *_user_places()]
        for path in places:
            if path.is_file():
                return cls.from_file(path)
        raise ProfileError(f"no profile found; looked at {', '.join(map(str, places))}")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Profile:
        """The profile of a file."""
        path = Path(path)
        given = parse(_read(path), path)
        if "address" not in given:
            raise ProfileError(f"the profile {path} is wrong: missing field `address`")
        certificate, key = given.get("certificate"), given.get("key")
        if (certificate is None) != (key is None):
            raise ProfileError(f"the profile {path} is wrong: `certificate` and `key` go together")
        return cls(
            address=given["address"],
            server_name=given.get("server-name"),
            ca=given.get("ca"),
            token=given.get("token"),
            certificate=None if certificate is None else _read(path.parent / certificate),
            key=None if key is None else _read(path.parent / key),
        )

    def but(self, **changes: Any) -> Profile:
        """The same with what is not ``None`` of these."""
        return replace(self, **{name: value for name, value in changes.items() if value is not None})

    @property
    def host_and_port(self) -> tuple[str, int]:
        """Where to connect to."""
        host, colon, port = self.address.rpartition(":")
        if not colon or not port.isdigit():
            raise ProfileError(f"the profile is wrong: address {self.address!r} is not HOST:PORT")
        return host.removeprefix("[").removesuffix("]"), int(port)

    @property
    def expected_name(self) -> str:
        """The name that the host's certificate must be for."""
        return self.server_name or self.host_and_port[0]


def _user_places() -> list[Path]:
    if sys.platform == "win32":
        base = os.environ.get("APPDATA")
        return [Path(base) / "rpc-host/client.toml"] if base else []
    base = os.environ.get("XDG_CONFIG_HOME")
    home = Path(base) if base and os.path.isabs(base) else Path.home() / ".config"
    return [home / "rpc-host/client.toml"]


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ProfileError(f"cannot read the profile {path}: is too large to be a profile, or part of one")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileError(f"cannot read the profile {path}: {error}") from None


def parse(text: str, path: Path) -> dict[str, str]:
    """The part of TOML that a profile is written in: keys, and strings of any of the four kinds.

    Python has a reader of TOML from 3.11 on. What is said of a mistake never shows the line, which may be the token.
    """

    def wrong(line: int, problem: str) -> ProfileError:
        return ProfileError(f"the profile {path} is wrong: line {line}: {problem}")

    values: dict[str, str] = {}
    at, line = 0, 1
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        statement = text[at:end].strip()
        if not statement or statement.startswith("#"):
            at, line = end + 1, line + 1
            continue
        key, equals, _ = text[at:end].partition("=")
        name = key.strip().strip("\"'")
        if not equals:
            raise wrong(line, 'expected `KEY = "VALUE"`')
        if name not in _KEYS:
            raise wrong(line, f"unknown field `{name}`" if name.replace("-", "").isalnum() else "unknown field")
        if name in values:
            raise wrong(line, f"`{name}` is there twice")
        start = at + len(key) + 1
        while start < len(text) and text[start] in " \t":
            start += 1
        value, after = _string(text, start)
        if value is None:
            raise wrong(line, f"`{name}` is not a string")
        rest_end = text.find("\n", after)
        rest_end = len(text) if rest_end < 0 else rest_end
        rest = text[after:rest_end].strip()
        if rest and not rest.startswith("#"):
            raise wrong(line + text.count("\n", at, after), "something follows the value")
        values[name] = value
        line += text.count("\n", at, rest_end) + 1
        at = rest_end + 1
    return values


_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}


def _string(text: str, start: int) -> tuple[str | None, int]:
    """The string that begins here, and where it ends."""
    for quote in ('"""', "'''", '"', "'"):
        if not text.startswith(quote, start):
            continue
        at = start + len(quote)
        is_long = len(quote) == 3
        if is_long and text.startswith("\r\n", at):
            at += 2
        elif is_long and text.startswith("\n", at):
            at += 1
        parts: list[str] = []
        while at < len(text):
            if text.startswith(quote, at):
                return "".join(parts), at + len(quote)
            char = text[at]
            if char == "\n" and not is_long:
                return None, at
            if char == "\\" and quote[0] == '"':
                escape = text[at + 1 : at + 2]
                width = {"u": 4, "U": 8}.get(escape)
                if escape in _ESCAPES:
                    parts.append(_ESCAPES[escape])
                    at += 2
                elif width:
                    try:
                        parts.append(chr(int(text[at + 2 : at + 2 + width], 16)))
                    except (ValueError, OverflowError):
                        return None, at
                    at += 2 + width
                elif is_long and escape in ("\n", "\r", " ", "\t"):
                    at += 1
                    while at < len(text) and text[at] in " \t\r\n":
                        at += 1
                else:
                    return None, at
                continue
            parts.append(char)
            at += 1
        return None, at
    return None, start
