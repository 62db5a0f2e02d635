"""Log lines as JSON on standard output, for the journal. Tokens never reach them."""

from __future__ import annotations

import json
import logging
import re
import sys

from .access import PREFIX
from .clock import at

_EXTRA = ("client", "principal", "method", "path", "status", "milliseconds")
_SECRETS = re.compile(rf"{PREFIX}[\w-]+|(?i:(bearer|basic)\s+)[\w.~+/=-]+")
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class JsonFormatter(logging.Formatter):
    """One object per line. What looks like a token is blotted out, wherever it came from."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": at(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{key: getattr(record, key) for key in _EXTRA if hasattr(record, key)},
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _SECRETS.sub("***", json.dumps(line, ensure_ascii=False, default=str))


def configure(level: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=LEVELS[level], handlers=[handler], force=True)
    # They show what is sent and received, or one line per request and check beside our own.
    for name in ("uvicorn.access", "httpx", "httpcore", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
