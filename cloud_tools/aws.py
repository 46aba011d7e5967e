"""The one door to boto3: ordinary configuration in, plain answers and clear errors out.

Region, credentials and endpoint come from where boto3 always looks (environment,
profile, instance), so the same verbs run against the real service and the local AWS.
Not done here: knowing what the calls mean.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.exceptions as faults
from boto3.exceptions import Boto3Error
from botocore.config import Config

from cloud_tools.errors import CloudError
from edge_agent.errors import Code

_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"mode": "standard", "max_attempts": 3})
_HINT = 'for the local AWS: edge-cloud local up, then eval "$(edge-cloud local env)"'
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}

_CODES = {
    "ResourceNotFoundException": Code.NOT_FOUND,
    "NoSuchBucket": Code.NOT_FOUND,
    "NoSuchKey": Code.NOT_FOUND,
    "404": Code.NOT_FOUND,
    "ResourceAlreadyExistsException": Code.ALREADY_EXISTS,
    "BucketAlreadyExists": Code.ALREADY_EXISTS,
    "VersionConflictException": Code.ALREADY_EXISTS,
    "ConflictException": Code.FAILED_PRECONDITION,
    "ConditionalRequestConflict": Code.FAILED_PRECONDITION,
    "PreconditionFailed": Code.FAILED_PRECONDITION,
    "DeleteConflictException": Code.FAILED_PRECONDITION,
    "InvalidStateTransitionException": Code.FAILED_PRECONDITION,
    "LimitExceededException": Code.RESOURCE_EXHAUSTED,
    "ThrottlingException": Code.RESOURCE_EXHAUSTED,
    "AccessDenied": Code.ACCESS_DENIED,
    "AccessDeniedException": Code.ACCESS_DENIED,
    "ExpiredToken": Code.ACCESS_DENIED,
    "ExpiredTokenException": Code.ACCESS_DENIED,
    "ForbiddenException": Code.ACCESS_DENIED,
    "InvalidAccessKeyId": Code.ACCESS_DENIED,
    "InvalidClientTokenId": Code.ACCESS_DENIED,
    "SignatureDoesNotMatch": Code.ACCESS_DENIED,
    "UnauthorizedException": Code.ACCESS_DENIED,
    "UnrecognizedClientException": Code.ACCESS_DENIED,
    "403": Code.ACCESS_DENIED,
}
_CLIENT_FAULTS = range(400, 500)


class Aws:
    """One account and region.

    Args:
        environment: ``AWS_*`` settings to use instead of boto3's own search; None: boto3's own.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = environment or {}
        with _translated("AWS configuration"):
            self._session = boto3.Session(
                aws_access_key_id=given.get("AWS_ACCESS_KEY_ID"),
                aws_secret_access_key=given.get("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=given.get("AWS_SESSION_TOKEN"),
                region_name=given.get("AWS_REGION"),
            )
        self._endpoint = given.get("AWS_ENDPOINT_URL")
        self._clients: dict[str, Any] = {}
        # Clients are for any number of threads; making one is not.
        self._making = threading.Lock()

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """Return what ``operation`` (as ``create_thing``) of ``service`` (as ``iot``) answers.

        Raises:
            CloudError: it was refused or could not be asked; the code says which.
        """
        with _translated(f"{service} {operation}"):
            answer: dict[str, Any] = getattr(self._client(service), operation)(**arguments)
        return answer

    def pages(self, service: str, operation: str, field: str, **arguments: Any) -> Iterator[Any]:
        """Yield the items of the list ``field`` over all pages of ``operation``.

        Raises:
            CloudError: as ``call``.
        """
        with _translated(f"{service} {operation}"):
            for page in self._client(service).get_paginator(operation).paginate(**arguments):
                yield from page.get(field, ())

    def stream_object(self, bucket: str, key: str) -> Iterator[bytes]:
        """Yield an object's bytes in blocks of a megabyte.

        Raises:
            CloudError: as ``call``.
        """
        with _translated(f"s3://{bucket}/{key}"):
            yield from self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20)

    @property
    def endpoint_url(self) -> str:
        """Return where S3 is asked."""
        return str(self._client("s3").meta.endpoint_url)

    @property
    def is_local(self) -> bool:
        """Tell whether this is an AWS on this machine."""
        return urlsplit(self.endpoint_url).hostname in _LOOPBACK

    @property
    def region(self) -> str:
        """Return the region's name."""
        return str(self._client("s3").meta.region_name)

    def credentials(self) -> tuple[str, str, str | None]:
        """Return access key id, secret access key and session token.

        Raises:
            CloudError: there are none.
        """
        with _translated("AWS configuration"):
            found = self._session.get_credentials()
            if found is None:
                raise faults.NoCredentialsError
            frozen = found.get_frozen_credentials()
        return frozen.access_key, frozen.secret_key, frozen.token

    def _client(self, service: str) -> Any:
        with self._making:
            return self._made(service)

    def _made(self, service: str) -> Any:
        if service not in self._clients:
            with _translated("AWS configuration"):
                self._clients[service] = self._session.client(service, endpoint_url=self._endpoint, config=_CONFIG)
        return self._clients[service]


def if_there(aws: Aws, service: str, operation: str, **arguments: Any) -> dict[str, Any] | None:
    """Return what ``Aws.call`` does; None where what is asked about is not there.

    Raises:
        CloudError: as ``Aws.call``, but for NOT_FOUND.
    """
    try:
        return aws.call(service, operation, **arguments)
    except CloudError as error:
        if error.code is Code.NOT_FOUND:
            return None
        raise


@contextmanager
def _translated(what: str) -> Iterator[None]:
    try:
        yield
    except faults.ClientError as exc:
        raise _refused(what, exc) from exc
    except faults.ParamValidationError as exc:
        raise CloudError(Code.INVALID_ARGUMENT, f"{what}: {_one_line(exc)}") from exc
    except (faults.HTTPClientError, faults.ConnectionError) as exc:
        raise CloudError(Code.UNAVAILABLE, f"{what}: {_one_line(exc)} ({_HINT})") from exc
    except faults.BotoCoreError as exc:
        # What is left is configuration: no credentials, no region, no such profile.
        raise CloudError(Code.CONFIG_INVALID, f"{what}: {_one_line(exc)} ({_HINT})") from exc
    except Boto3Error as exc:
        # Uploads in parts wrap what went wrong.
        raise CloudError(Code.UNAVAILABLE, f"{what}: {_one_line(exc)}") from exc
    except ValueError as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{what}: {_one_line(exc)}") from exc


def _refused(what: str, error: Any) -> CloudError:
    fault = error.response.get("Error", {})
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    unknown = Code.INVALID_ARGUMENT if status in _CLIENT_FAULTS else Code.UNAVAILABLE
    word = str(fault.get("Code", status))
    return CloudError(_CODES.get(word, unknown), f"{what}: {word}, {fault.get('Message') or 'no message'}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
