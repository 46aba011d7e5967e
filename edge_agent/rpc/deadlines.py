"""How long a call may take."""

import grpc

# Without a deadline gRPC tells a time far beyond any that a caller means.
_NO_DEADLINE_S = 86_400.0


def timeout_s(context: grpc.ServicerContext, default_s: float) -> float:
    """Return the seconds that the caller still waits, or ``default_s`` where it set no deadline."""
    remaining = context.time_remaining()
    if remaining is None or remaining > _NO_DEADLINE_S:
        return default_s
    return float(remaining)
