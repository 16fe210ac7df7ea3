"""What accepting is compared with: a Litestar handler that does nothing, served as ``api.run`` serves the API."""

import sys

import uvicorn
from litestar import Litestar, post

from api.run import SHUTDOWN_GRACE_S


@post("/model/new", status_code=202)
async def nothing() -> dict[str, str]:
    return {"status": "accepted"}


def serve(port: int) -> None:
    uvicorn.run(
        Litestar([nothing], openapi_config=None, logging_config=None),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )


if __name__ == "__main__":
    serve(int(sys.argv[1]))
