"""Logs: one JSON object a line on stdout, with whatever ``extra`` says beside the message.

Usage: ``logger.info("a version was activated", extra={"action": "activated", "model": …})``.
What a request logs tells the trace that its caller named. Signatures of URLs never get out.
"""

import json
import logging
import re
import sys
import time
from typing import Any, TextIO

from edge_agent.telemetry import tracing

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Presigned URLs of S3 and CloudFront: whoever reads one may use it. Looked for from the last ? on: whoever logs waits.
_SIGNED = re.compile(r"\?[^\s\"'<>?]*(?:Signature|Credential|Security-Token|AWSAccessKeyId)=[^\s\"'<>]*", re.IGNORECASE)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, trace, extra fields and the traceback, as far as there are such."""
        content: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        content |= extra_fields(record)
        trace = tracing.current()
        if trace is not None:
            content |= {"trace_id": trace.trace_id, "parent_id": trace.parent_id}
            content |= {"trace_state": trace.state} if trace.state else {}
        if record.exc_info:
            content["exception"] = self.formatException(record.exc_info)
        return without_signatures(json.dumps(content, default=str, ensure_ascii=False))


def extra_fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return what ``extra`` said beside the message."""
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def without_signatures(text: str) -> str:
    """Return the text with the queries of signed URLs cut."""
    return _SIGNED.sub("?…", text)


def configure(level: str = "INFO", stream: TextIO | None = None, *others: logging.Handler) -> None:
    """Log from now on as this module's docstring says; warnings of Python too.

    Args:
        level: the lowest that is logged.
        stream: None: stdout.
        others: get every record too.
    """
    handler = logging.StreamHandler(stream or sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    for each in (handler, *others):
        root.addHandler(each)
    root.setLevel(level)
    logging.captureWarnings(capture=True)
