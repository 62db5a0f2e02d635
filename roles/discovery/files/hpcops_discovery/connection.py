"""What a client may take of a process before it shows a valid token: connections, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import uvloop
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# Of a request's first line and headers together, and of what follows a body.
HEAD_BYTES = 32 << 10
HEAD_SECONDS = 10.0
BODY_SECONDS = 60.0
# Connections of a process whose client has not shown a valid token; an address may have a share of them.
STRANGERS = 256
STRANGERS_PER_ADDRESS = 64
# Connections of one address, with a token or without.
PER_ADDRESS = 1024
# How long a process that ends waits for the first request of a connection that it has accepted.
FIRST_REQUEST_SECONDS = 2.0


class Loop(uvloop.Loop):
    """An event loop whose TLS handshakes take no longer than a request's headers."""

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.AbstractServer:  # type: ignore[override]  # its many forms
        if options.get("ssl"):
            options["ssl_handshake_timeout"] = HEAD_SECONDS
        return await super().create_server(*arguments, **options)


class Crowd:
    """The connections of a process. Where too many are strangers', the oldest of the address with most of them ends."""

    def __init__(self) -> None:
        self._of: dict[str, int] = {}
        self._strangers: dict[str, dict[Connection, None]] = {}
        self._count = 0

    def admit(self, connection: Connection) -> bool:
        """Count a new connection. Returns whether its address may have one more."""
        address = connection.address
        self._of[address] = self._of.get(address, 0) + 1
        group = self._strangers.setdefault(address, {})
        group[connection] = None
        self._count += 1
        if len(group) > STRANGERS_PER_ADDRESS:
            self._end_oldest(address)
        while self._count > STRANGERS:
            self._end_oldest(max(self._strangers, key=lambda each: len(self._strangers[each])))
        return self._of[address] <= PER_ADDRESS

    def leave(self, connection: Connection) -> None:
        address = connection.address
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]
        self._forget(connection)

    def _end_oldest(self, address: str) -> None:
        oldest = next(iter(self._strangers[address]))
        self._forget(oldest)
        if not oldest.knows_client():
            oldest.transport.abort()

    def _forget(self, connection: Connection) -> None:
        group = self._strangers.get(connection.address, {})
        if connection in group:
            del group[connection]
            self._count -= 1
            if not group:
                del self._strangers[connection.address]


class Connection(HttpToolsProtocol):
    """A client's connection, with limits that do not depend on who the client is."""

    crowd = Crowd()
    address = ""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0  # bytes of the headers that are complete
        self._silent = 0  # bytes since the request, or its last piece of a body, began
        self._known = False

    def knows_client(self) -> bool:
        """Whether a request on this connection had a valid token."""
        return self._known or (self.scope is not None and "principal" in self.scope["state"])

    # --- The connection ----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        if self.crowd.admit(self):
            self._allow(HEAD_SECONDS)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.crowd.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._allow(HEAD_SECONDS)
        self._silent += len(data)
        super().data_received(data)
        if self._silent > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        if max(self._head, self._silent) > HEAD_BYTES:
            self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
        else:
            super().send_400_response(msg)

    def shutdown(self) -> None:
        """End after the present request. uvicorn closes a connection whose first request it has not read yet, as if it were idle."""
        if self.cycle is None:
            self.loop.call_later(FIRST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    # --- A request ---------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._known = self.knows_client()
        self._head = 0
        if self._timer is None:
            self._allow(HEAD_SECONDS)
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_head(len(name) + len(value) + 4)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._silent = 0
        self._allow(BODY_SECONDS)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent = 0
        self._disarm()
        super().on_message_complete()

    def _count_head(self, size: int) -> None:
        self._head += size
        if self._head > HEAD_BYTES:
            raise ValueError("the headers are too large")  # which the parser turns into its own error

    # --- Time --------------------------------------------------------------------------------------------------------

    def _allow(self, seconds: float) -> None:
        """End the connection when what it does now takes longer."""
        self._disarm()
        end: Callable[[], None] = self.transport.abort
        self._timer = self.loop.call_later(seconds, end)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
