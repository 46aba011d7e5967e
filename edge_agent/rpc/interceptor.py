"""What surrounds every call: who may call, whose trace it belongs to, what became of it, and errors as status.

This is one of the three places where any exception is caught: a programmer's error in one
call becomes INTERNAL with an id that stands in the log, and the process lives.
"""

import functools
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import grpc

from edge_agent.errors import AgentError, Code, InferenceError
from edge_agent.rpc.callers import note_caller
from edge_agent.rpc.decoding import reader
from edge_agent.rpc.limits import Receiver
from edge_agent.rpc.status import abort, status_of
from edge_agent.telemetry import metrics, tracing

_LOG = logging.getLogger(__name__)
_REFLECTION = "/grpc.reflection."
# The caller's own doing, or everyday life under load: told only to whoever wants to know everything.
_OWN_FAULTS = frozenset({Code.INTERNAL, Code.UNAVAILABLE})

T = TypeVar("T")
Handler = Any
Continuation = Callable[[grpc.HandlerCallDetails], Handler]


class CallInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """Guards and counts the calls of one server.

    Args:
        clients: common names of certificates that may call over TLS.
        receiver: waits for requests, within limits.
        reflections: reflection streams at a time; each holds a thread.
    """

    def __init__(self, clients: tuple[str, ...] = (), *, receiver: Receiver, reflections: int = 2) -> None:
        self._clients = frozenset(clients)
        self._receiver = receiver
        self._reflections = threading.BoundedSemaphore(reflections)

    def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler with everything around it."""
        handler = continuation(handler_call_details)
        if handler is None or _is_left_out(handler):
            # gRPC's own answer: UNIMPLEMENTED.
            return None
        method = str(handler_call_details.method)
        read = reader(method, handler.request_deserializer)
        handler = handler._replace(request_deserializer=None)
        if handler.unary_unary:
            # On the wire a single request is a stream of one; so the call is in our hands before its request is.
            answer = self._unary(method, handler.unary_unary, read)
            return grpc.stream_unary_rpc_method_handler(answer, None, handler.response_serializer)
        if handler.unary_stream:
            answers = self._stream(method, handler.unary_stream, read, self._receiver.receive)
            return grpc.stream_stream_rpc_method_handler(answers, None, handler.response_serializer)
        read_all = functools.partial(map, read)
        if not method.startswith(_REFLECTION):
            answers = self._stream(method, handler.stream_stream, read_all, lambda requests, _context: requests)
            return handler._replace(stream_stream=answers)
        return handler._replace(stream_stream=self._reflection(handler.stream_stream, read_all))

    def _unary(self, method: str, behaviour: Callable[..., Any], read: Callable[[bytes], Any]) -> Callable[..., Any]:
        def call(requests: Iterator[Any], context: grpc.ServicerContext) -> Any:
            failure: AgentError | None = None
            with metrics.call_in_flight(method):
                started = time.monotonic()
                try:
                    self._admit(context)
                    request = read(self._receiver.receive(requests, context))
                    started = time.monotonic()
                    answer = behaviour(request, context)
                except AgentError as exc:
                    failure = exc
                except grpc.RpcError:
                    # The caller went away, or was cut off, before it had said what it wants.
                    metrics.count_call(method, "CANCELLED")
                    raise
                except Exception:  # noqa: BLE001 - see the module's docstring
                    failure = _fault(method)
            _end(method, failure, time.monotonic() - started)
            try:
                return abort(context, failure) if failure else answer
            finally:
                # Its traceback holds this frame: the call would live on until the collector finds the two.
                failure = None

        return call

    def _stream(
        self,
        method: str,
        behaviour: Callable[..., Any],
        read: Callable[[Any], Any],
        receive: Callable[[Iterator[Any], grpc.ServicerContext], Any],
    ) -> Callable[..., Any]:
        # wraps: health's Watch says by attributes of its function that it holds no thread.
        @functools.wraps(behaviour)
        def call(requests: Iterator[Any], context: grpc.ServicerContext, *more: Any) -> Any:
            try:
                self._admit(context)
                answers = behaviour(read(receive(requests, context)), context, *more)
            except AgentError as exc:
                abort(context, exc)
            return answers if answers is None else _guarded(method, answers, context)

        return call

    def _reflection(self, behaviour: Callable[..., Any], read: Callable[[Any], Any]) -> Callable[..., Any]:
        def call(requests: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            if not self._reflections.acquire(blocking=False):
                abort(context, InferenceError(Code.RESOURCE_EXHAUSTED, "too many reflection streams are open"))
            try:
                self._admit(context)
                yield from behaviour(read(requests), context)
            except AgentError as exc:
                abort(context, exc)
            finally:
                self._reflections.release()

        return call

    def _admit(self, context: grpc.ServicerContext) -> None:
        tracing.follow(context.invocation_metadata())
        note_caller(context.peer())
        peer: Mapping[str, Iterable[bytes]] = context.auth_context()  # type: ignore[assignment]
        if b"ssl" not in peer.get("transport_security_type", ()):
            return
        names = {name.decode("utf-8", "replace") for name in peer.get("x509_common_name", ())}
        if not names & self._clients:
            raise InferenceError(Code.PERMISSION_DENIED, f"{', '.join(sorted(names)) or 'nobody'} may not call here")


def _is_left_out(handler: Handler) -> bool:
    """Tell whether a call is one that a protocol has and nobody here wrote: what is called is generated code."""
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    return str(getattr(behaviour, "__module__", "")).endswith("_pb2_grpc")


def attempt(method: str, call: Callable[[], T]) -> T | AgentError:
    """Answer one call of a protocol that is not gRPC's, guarded and counted like every other.

    Returns:
        What ``call`` returns, or its error.
    """
    started = time.monotonic()
    answer: T | AgentError
    with metrics.call_in_flight(method):
        try:
            answer = call()
        except AgentError as exc:
            answer = exc
        except Exception:  # noqa: BLE001 - see the module's docstring
            answer = _fault(method)
    _end(method, answer if isinstance(answer, AgentError) else None, time.monotonic() - started)
    return answer


def _guarded(method: str, answers: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
    failure: AgentError | None = None
    with metrics.call_in_flight(method):
        try:
            yield from answers
        except AgentError as exc:
            failure = exc
        except grpc.RpcError:
            # The caller went away; that is its good right, and no fault of the agent.
            metrics.count_call(method, "CANCELLED")
            raise
        except Exception:  # noqa: BLE001 - see the module's docstring
            failure = _fault(method)
    metrics.count_call(method, _word(failure))
    try:
        if failure:
            abort(context, failure)
    finally:
        failure = None  # as above


def _end(method: str, failure: AgentError | None, seconds: float) -> None:
    """Count an ended call, and log it where somebody wants to know: an own fault, or a trace that is recorded."""
    status = _word(failure)
    metrics.count_call(method, status, seconds)
    trace = tracing.current()
    level = logging.INFO if trace is not None and trace.sampled else logging.DEBUG
    if failure is not None and failure.code in _OWN_FAULTS:
        level = logging.WARNING
    if _LOG.isEnabledFor(level):
        extra = {"action": "call_ended", "method": method, "status": status, "milliseconds": round(seconds * 1000, 3)}
        _LOG.log(level, "call ended", extra=extra | ({"reason": failure.message} if failure else {}))


def _fault(method: str) -> InferenceError:
    fault = secrets.token_hex(4)
    metrics.count_fault()
    _LOG.exception(
        "a call ended in a fault of the agent", extra={"action": "call_failed", "method": method, "id": fault}
    )
    return InferenceError(Code.INTERNAL, f"the agent failed; its log tells more under id {fault}")


def _word(failure: AgentError | None) -> str:
    return status_of(failure.code).name if failure else "OK"
