"""A whole AWS on this machine, for the demo and as the tests' oracle for IoT Jobs.

One emulator process serves S3, the IoT control plane and Jobs over MQTT with mutual
TLS, holds devices to their policies and refuses unknown keys. Every socket that it
opens is on loopback. Its state is written when it ends
gracefully, and only then: after a kill ``start`` says that state was lost.
"""

from cloud_tools.local.cloud import LocalCloud
from cloud_tools.local.endpoints import CloudStatus, Endpoints, aws_environment

__all__ = ["CloudStatus", "Endpoints", "LocalCloud", "aws_environment"]
