"""A connection on which nobody says in time what is wanted ends with 408; uvicorn alone would wait for ever."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

BODY = b"the request: did not begin in time. Send it again, and at once."
LATE = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b"


class Patient(H11Protocol):
    """seconds: between the first byte of a request, or the connection, and the end of the request's headers."""

    def __init__(self, seconds: float, **given):
        super().__init__(**given)
        self.seconds = seconds
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self.forget()
        super().connection_lost(exc)

    @property
    def waits(self) -> bool:
        """For the headers of a request."""
        return self.cycle is None or self.cycle.response_complete

    def watch(self) -> None:
        if not self.waits:
            self.forget()
        elif self.timer is None:
            self.timer = self.loop.call_later(self.seconds, self.leave)

    def forget(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def leave(self) -> None:
        self.timer = None
        if self.waits and not self.transport.is_closing():
            self.transport.write(LATE % (len(BODY), BODY))
            self.transport.close()
