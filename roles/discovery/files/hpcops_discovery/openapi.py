"""The OpenAPI document as it is checked in."""

from __future__ import annotations

import json

from .app import bare_app


def document() -> str:
    return json.dumps(bare_app().openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
