"""The door to the MQTT library: one connection to AWS IoT with mutual TLS.

The library calls back on a thread of its own, and an exception raised there is
printed and lost: the callbacks here only hand over. The library's queue is not
used over a lost connection, nor its memory of subscriptions: with every session
mode but REJOIN_ALWAYS they were seen to vanish silently, so whoever holds the
connection subscribes again after each ``Connected``.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from awscrt import io, mqtt5
from awscrt.exceptions import AwsCrtError
from awsiot import mqtt5_client_builder

from edge_agent.config import KeyPlace, Mqtt, TokenKey
from edge_agent.errors import Code, ConfigError
from edge_agent.jobs import token
from edge_agent.jobs.happenings import Connected, Disconnected, Happening, Received, Subscribed
from edge_agent.jobs.reconnect import policy

_ANSWER_TIMEOUT_S: Final = 10
_LONGEST_PING_TIMEOUT_S: Final = 10.0
# The broker keeps notifications for so long; older ones are made up for by asking.
_SESSION_EXPIRY_S: Final = 3600
_FIRST_FAILURE: Final = 128


class Loops:
    """Threads of the library that carry many connections of one process.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        group = io.EventLoopGroup(threads)
        self.bootstrap = io.ClientBootstrap(group, io.DefaultHostResolver(group))


class MqttConnection:
    """One connection that renews itself until stopped.

    Args:
        settings: endpoint, certificate, key and authority.
        client_id: who we are to the broker; AWS policies ask for the thing's name.
        hand_over: told of what happens, on the library's thread; must not wait.
        loops: threads that it shares with others; None: one of its own.

    Raises:
        ConfigError: a setting is missing or its file cannot be used.
    """

    def __init__(
        self, settings: Mqtt, client_id: str, *, hand_over: Callable[[Happening], None], loops: Loops | None = None
    ) -> None:
        self._hand_over = hand_over
        self._number = 0
        self._stopped = threading.Event()
        self._client = self._build(settings, client_id, loops or Loops(1))

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._stopped.clear()
        self._client.start()

    def stop(self, timeout_s: float) -> bool:
        """Disconnect; return whether that was done in time."""
        self._client.stop()
        return self._stopped.wait(timeout_s)

    def subscribe(self, filters: Sequence[str]) -> None:
        """Ask for everything on ``filters``, at least once; ``Subscribed`` follows."""
        number = self._number
        wanted = [mqtt5.Subscription(topic_filter=word, qos=mqtt5.QoS.AT_LEAST_ONCE) for word in filters]
        future = self._client.subscribe(mqtt5.SubscribePacket(subscriptions=wanted))
        future.add_done_callback(lambda done: self._hand_over(Subscribed(number, _fault(done))))

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish once, at least once while this connection lasts; a loss is for the sender to notice."""
        self._client.publish(mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE))

    def deliver(self, topic: str, payload: bytes) -> "Future[Any]":
        """Publish, at least once; the result comes when the broker has it, an exception when this connection ended."""
        packet = mqtt5.PublishPacket(topic=topic, payload=payload, qos=mqtt5.QoS.AT_LEAST_ONCE)
        future: Future[Any] = self._client.publish(packet)
        return future

    def _build(self, settings: Mqtt, client_id: str, loops: Loops) -> Any:
        certificate, private_key, authority = check_settings(settings)
        waits = policy(settings.reconnect_max_s)
        ping_timeout_s = min(_LONGEST_PING_TIMEOUT_S, settings.keep_alive_s / 2)
        try:
            return _begun(
                certificate,
                private_key,
                endpoint=settings.endpoint,
                port=settings.port,
                ca_filepath=authority,
                client_id=client_id,
                client_bootstrap=loops.bootstrap,
                keep_alive_interval_sec=settings.keep_alive_s,
                ping_timeout_ms=int(ping_timeout_s * 1000),
                connack_timeout_ms=_ANSWER_TIMEOUT_S * 1000,
                ack_timeout_sec=_ANSWER_TIMEOUT_S,
                session_behavior=mqtt5.ClientSessionBehaviorType.REJOIN_ALWAYS,
                session_expiry_interval_sec=_SESSION_EXPIRY_S,
                # What was not sent on this connection is asked anew on the next one.
                offline_queue_behavior=mqtt5.ClientOperationQueueBehaviorType.FAIL_ALL_ON_DISCONNECT,
                retry_jitter_mode=mqtt5.ExponentialBackoffJitterMode.FULL,
                min_reconnect_delay_ms=int(waits.least_s * 1000),
                max_reconnect_delay_ms=int(waits.most_s * 1000),
                enable_metrics_collection=False,
                on_publish_received=self._on_publish,
                on_lifecycle_connection_success=self._on_connected,
                on_lifecycle_connection_failure=self._on_failure,
                on_lifecycle_disconnection=self._on_disconnected,
                on_lifecycle_stopped=self._on_stopped,
            )
        except (AwsCrtError, OSError, ValueError, RuntimeError) as exc:
            raise ConfigError(
                Code.CONFIG_INVALID, f"mqtt: expected a certificate, key and authority in PEM, {exc}"
            ) from exc

    def _on_publish(self, data: Any) -> None:
        packet = data.publish_packet
        self._hand_over(Received(packet.topic, bytes(packet.payload or b"")))

    def _on_connected(self, _data: Any) -> None:
        self._number += 1
        self._hand_over(Connected(self._number))

    def _on_failure(self, data: Any) -> None:
        reason = f"could not connect: {data.exception}"
        self._hand_over(Disconnected(reason, reopen=token.is_lost(data.exception)))

    def _on_disconnected(self, data: Any) -> None:
        self._hand_over(Disconnected(f"connection lost: {data.exception}"))

    def _on_stopped(self, _data: Any) -> None:
        self._stopped.set()


def _begun(certificate: str, private_key: KeyPlace, **words: Any) -> Any:
    if not isinstance(private_key, TokenKey):
        return mqtt5_client_builder.mtls_from_path(certificate, str(private_key), **words)
    with token.opening(private_key) as opening:
        return mqtt5_client_builder.mtls_with_pkcs11(**opening, cert_filepath=certificate, **words)


def check_settings(settings: Mqtt) -> tuple[str, KeyPlace, str | None]:
    """Return certificate, key and authority; None for the system's authorities.

    Raises:
        ConfigError: the endpoint, or a file that is named or needed, is missing.
    """
    if not settings.endpoint:
        raise ConfigError(Code.CONFIG_INVALID, "mqtt.endpoint: expected a host name, came nothing")
    paths = {"certificate": settings.certificate, "private_key": settings.private_key}
    # AWS IoT's own endpoints have certificates that every system trusts.
    named = {"ca": settings.ca} if settings.ca is not None else {}
    for key, path in {**paths, **named}.items():
        if isinstance(path, TokenKey):
            continue
        if path is None or not path.is_file():
            raise ConfigError(Code.CONFIG_INVALID, f"mqtt.{key}: expected a PEM file, came {path}")
    assert settings.private_key is not None
    return str(settings.certificate), settings.private_key, str(settings.ca) if settings.ca else None


def _fault(done: "Future[Any]") -> str:
    failure = done.exception()
    if failure is not None:
        return str(failure)
    codes = [code for code in done.result().reason_codes or () if code >= _FIRST_FAILURE]
    return f"the broker refused a subscription: {codes}" if codes else ""
