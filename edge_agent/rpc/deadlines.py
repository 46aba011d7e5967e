"""How long a call may take."""

import grpc

# Without a deadline gRPC tells a time far beyond any that a caller means.
_NO_DEADLINE_S = 86_400.0
# An answer needs time to get back: NO_RESULT with its reason is worth more than a call that ran out of time.
_WAY_BACK_S = 0.25
_WAY_BACK_SHARE = 0.1


def timeout_s(context: grpc.ServicerContext, default_s: float) -> float:
    """Return the seconds that the caller still waits, or ``default_s`` where it set no deadline."""
    remaining = context.time_remaining()
    if remaining is None or remaining > _NO_DEADLINE_S:
        return default_s
    return float(remaining)


def answer_within_s(context: grpc.ServicerContext, default_s: float) -> float:
    """Return the seconds after which an answer must be on its way, so that it still reaches the caller in time."""
    remaining = timeout_s(context, default_s)
    return remaining - min(_WAY_BACK_S, remaining * _WAY_BACK_SHARE)
