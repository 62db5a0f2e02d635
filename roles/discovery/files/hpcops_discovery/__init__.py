"""The service-discovery API: which hosts exist, what they are for, what hardware they have, where each service answers."""

from __future__ import annotations

__version__ = "0.1.0"
