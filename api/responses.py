"""The answer to a submission, sent without Litestar's general way of rendering, which takes several times as long."""

from typing import Any

import msgspec
from litestar import Request, Response
from litestar.types import ASGIApp, Receive, Scope, Send

_TYPE = (b"content-type", b"application/json")


class JsonAnswer(Response[Any]):
    """Any content that msgspec encodes by itself; only ``content``, ``status_code`` and ``headers`` are heeded."""

    def to_asgi_response(  # pyright: ignore[reportIncompatibleMethodOverride]  # Litestar only calls what it returns
        self,
        app: Any,  # noqa: ARG002
        request: Request[Any, Any, Any],  # noqa: ARG002
        **_: Any,
    ) -> ASGIApp:
        body = msgspec.json.encode(self.content)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        headers += [_TYPE, (b"content-length", b"%d" % len(body))]
        status = self.status_code

        async def answer(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": status or 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})

        return answer
