"""Where an operator's URL points: a directory, or a prefix of a bucket."""

import urllib.request
from pathlib import Path
from typing import NamedTuple

from cloud_tools.errors import CloudError
from edge_agent.errors import Code


class BucketPlace(NamedTuple):
    """A bucket and a prefix in it, without slashes around it."""

    bucket: str
    prefix: str


def place_of(url: str) -> Path | BucketPlace:
    """Return what ``s3://bucket/prefix``, ``file:///directory`` or a directory's path names.

    Raises:
        CloudError: INVALID_ARGUMENT, the URL is of another kind.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return Path(url)
    if scheme == "file":
        return Path(urllib.request.url2pathname(rest))
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return BucketPlace(bucket, prefix.strip("/"))
    raise CloudError(Code.INVALID_ARGUMENT, f"expected s3://bucket/prefix, file:///directory or a path, came {url!r}")
