"""What the Python suites share: addresses, unique names, and waiting for conditions."""

import itertools
import os
import time

LIMIT = 30.0
"""Seconds; longer than any answer takes on a loaded machine."""

_count = itertools.count()


def address(variable: str) -> str:
    value = os.environ.get(variable)
    if not value:
        raise RuntimeError(f"set {variable} to host:port, or use compat-tests/run")
    return value


def unique(prefix: str) -> str:
    """A name that no other test or run has used, valid as topic, group, table and database name."""
    return f"{prefix}_py_{time.time_ns() // 1_000_000}_{os.getpid()}_{next(_count)}"


def until(condition, what: str):
    """The first true value of `condition()`; fails after LIMIT."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {LIMIT} s")
