"""A line to AWS that is dead when a certain operation is asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code


@contextmanager
def dead_at(operation: str) -> Iterator[None]:
    """Cut what is done here off at its first call of an operation; it is asserted that it was."""
    real = Aws.call

    def call(door: Aws, service: str, asked: str, **arguments: Any) -> dict[str, Any]:
        if asked == operation:
            raise CloudError(Code.UNAVAILABLE, "the line is dead")
        return real(door, service, asked, **arguments)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Aws, "call", call)
        with pytest.raises(CloudError, match="the line is dead"):
            yield
