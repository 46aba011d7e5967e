"""Buckets for releases and captures: private, encrypted, in the account's region."""

from typing import Any

from cloud_tools.aws import Aws
from cloud_tools.errors import CloudError
from edge_agent.errors import Code

# S3 takes no LocationConstraint for its oldest region.
_WITHOUT_CONSTRAINT = "us-east-1"


def create_bucket(aws: Aws, name: str) -> bool:
    """Create a private bucket; tell whether it is new.

    Raises:
        CloudError: ALREADY_EXISTS when the name is someone else's.
    """
    if is_ours(aws, name):
        return False
    where: dict[str, Any] = {}
    if aws.region != _WITHOUT_CONSTRAINT:
        where["CreateBucketConfiguration"] = {"LocationConstraint": aws.region}
    aws.call("s3", "create_bucket", Bucket=name, **where)
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    aws.call("s3", "put_public_access_block", Bucket=name, PublicAccessBlockConfiguration=closed)
    return True


def list_buckets(aws: Aws) -> list[dict[str, str]]:
    """Return the account's buckets, by name."""
    answer = aws.call("s3", "list_buckets")
    return [{"name": found["Name"], "created": found["CreationDate"].isoformat()} for found in answer["Buckets"]]


def is_ours(aws: Aws, name: str) -> bool:
    """Tell whether the account has a bucket of that name.

    Raises:
        CloudError: ALREADY_EXISTS when the name is someone else's.
    """
    try:
        aws.call("s3", "head_bucket", Bucket=name)
    except CloudError as error:
        # A bad name is refused here without a reason, and with one when it is created.
        if error.code in (Code.NOT_FOUND, Code.INVALID_ARGUMENT):
            return False
        if error.code is Code.ACCESS_DENIED:
            raise CloudError(Code.ALREADY_EXISTS, f"bucket {name}: the name is taken by another account") from error
        raise
    return True
