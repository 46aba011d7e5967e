"""The servers: the data plane's and the control plane's, with health and reflection.

Two servers, so that event streams never hold threads of the data plane. A port is never
shared (``so_reuseport=0``) and a living agent's socket is never taken over.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from edge_agent.config import Rpc
from edge_agent.rpc.addresses import bind_tcp, open_to_group, prepare_socket
from edge_agent.rpc.edge_agent_v1.operator import STREAMS
from edge_agent.rpc.interceptor import CallInterceptor
from edge_agent.rpc.limits import Limits, Receiver
from edge_agent.rpc.service import Service

DATA_GROUP = "edge-agent"
CONTROL_GROUP = "edge-agent-admin"
_CONTROL_THREADS = 8
_DEFAULT_LIMITS = Limits()


class RpcServer:
    """One server with health and reflection; it says NOT_SERVING until told otherwise.

    Args:
        services: what it serves.
        threads: calls answered at a time; one more is refused RESOURCE_EXHAUSTED.
        clients: certificates' common names that may call over TLS.
        limits: what it puts up with.
    """

    def __init__(
        self,
        services: Sequence[Service],
        *,
        threads: int,
        clients: tuple[str, ...] = (),
        limits: Limits = _DEFAULT_LIMITS,
    ) -> None:
        self.tcp_port = 0
        self._sockets: dict[Path, int] = {}
        self._receiver = Receiver(limits.receive_s)
        self._server = grpc.server(
            ThreadPoolExecutor(threads, thread_name_prefix="rpc"),
            interceptors=[CallInterceptor(clients, receiver=self._receiver, reflections=max(1, threads // 8))],
            options=limits.options(),
            maximum_concurrent_rpcs=threads,
        )
        # As many as calls: watchers who are slow to say what they want wait side by side, not one behind the other.
        self._health_pool = ThreadPoolExecutor(threads, thread_name_prefix="health")
        self._health: Any = health.HealthServicer(experimental_thread_pool=self._health_pool)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._names = [service.name for service in services]
        for service in services:
            service.add(self._server)
        reflection.enable_server_reflection([*self._names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self.set_serving(serving=False)

    def listen_on(self, path: Path, group: str) -> None:
        """Listen on a unix socket that ``group`` may use.

        Raises:
            ConfigError: another process answers there, or it cannot be made.
        """
        prepare_socket(path)
        self._server.add_insecure_port(f"unix:{path}")
        open_to_group(path, group)
        self._sockets[path] = path.stat().st_ino

    def listen_on_tcp(self, rpc: Rpc) -> None:
        """Listen on ``rpc.tcp``; the port is ``tcp_port`` afterwards.

        Raises:
            ConfigError: as ``addresses.bind_tcp``.
        """
        self.tcp_port = bind_tcp(self._server, rpc)

    def start(self) -> None:
        """Answer from now on."""
        self._receiver.start()
        self._server.start()

    def set_serving(self, *, serving: bool) -> None:
        """Say by grpc.health.v1 whether calls will be answered well."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in (health.OVERALL_HEALTH, *self._names):
            self._health.set(name, status)

    def stop(self, grace_s: float) -> None:
        """Take no new calls, let running ones end within ``grace_s``, and remove the sockets."""
        self._health.enter_graceful_shutdown()
        self._server.stop(grace_s).wait()
        self._receiver.stop()
        self._health_pool.shutdown()
        for path, inode in self._sockets.items():
            _remove(path, inode)


def data_server(rpc: Rpc, runtime_dir: Path, services: Sequence[Service]) -> RpcServer:
    """Return the data plane, listening and not started: ``agent.sock``, further sockets, TCP.

    Raises:
        ConfigError: an address is taken or not allowed.
    """
    limits = Limits(connections=rpc.connections, receive_s=rpc.receive_timeout_s)
    server = RpcServer(services, threads=rpc.threads, clients=rpc.tls.clients, limits=limits)
    for path in (runtime_dir / "agent.sock", *rpc.sockets):
        server.listen_on(path, DATA_GROUP)
    if rpc.tcp:
        server.listen_on_tcp(rpc)
    return server


def control_server(runtime_dir: Path, services: Sequence[Service]) -> RpcServer:
    """Return the control plane, listening and not started: ``control.sock``.

    Raises:
        ConfigError: the socket is taken.
    """
    server = RpcServer(services, threads=STREAMS + _CONTROL_THREADS)
    server.listen_on(runtime_dir / "control.sock", CONTROL_GROUP)
    return server


def _remove(path: Path, inode: int) -> None:
    """Remove our socket, unless another process has put its own there since."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
