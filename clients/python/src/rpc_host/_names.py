"""One name, two spellings: kebab-case in WIT and on the wire, snake_case in Python."""

from __future__ import annotations

import keyword
from functools import lru_cache

__all__ = ["identifier", "kebab", "pascal", "snake"]


@lru_cache(4096)
def snake(name: str) -> str:
    """``dark-blue`` → ``dark_blue``. Names of WIT differ by more than capitals, so those may go."""
    return name.replace("-", "_").lower()


@lru_cache(4096)
def identifier(name: str) -> str:
    """The same as a name in a program: ``from`` → ``from_``."""
    name = snake(name)
    return f"{name}_" if keyword.iskeyword(name) else name


@lru_cache(4096)
def pascal(name: str) -> str:
    """``open-file`` → ``OpenFile``."""
    return "".join(word[:1].upper() + word[1:] for word in name.replace("_", "-").split("-"))


@lru_cache(4096)
def kebab(name: str) -> str:
    """``dark_blue`` → ``dark-blue``, and ``from_`` → ``from``."""
    return name.rstrip("_").replace("_", "-")
