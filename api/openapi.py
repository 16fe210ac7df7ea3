"""What the OpenAPI document says beyond what Litestar sees by itself."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import (
    Components,
    OpenAPIMediaType,
    Operation,
    Parameter,
    Reference,
    RequestBody,
    Schema,
    SecurityScheme,
)

_SUBMISSION_HEADERS = {
    "Prefer": "`wait=N` waits up to N seconds for the finished row; `respond-async` answers 202 at once (RFC 7240).",
    "Idempotency-Key": "The same key and body again is the same task; kept for at least 24 hours.",
    "Webhook-Url": "Called, signed per Standard Webhooks, when this task has ended.",
    "litellm-changed-by": "On whose behalf; shown in the audit log beside the key's own user.",
}


def config(version: str) -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Pointsman",
        version=version,
        description="The control plane of an LLM gateway fleet. Speaks LiteLLM's management API.",
        path="/",
        render_plugins=[SwaggerRenderPlugin(path="/docs")],
        security=[{"bearer": []}],
        components=Components(
            security_schemes={"bearer": SecurityScheme(type="http", scheme="bearer", description="A key: `sk-…`")}
        ),
    )


def submission_operation(body: type[msgspec.Struct] | None, *, is_required: bool = True) -> type[Operation]:
    """Describes a write: its body, which the handler reads as bytes, and the headers that shape every submission."""
    described = None if body is None else _body(body, is_required=is_required)

    @dataclass
    class SubmissionOperation(Operation):
        request_body: RequestBody | Reference | None = field(default_factory=lambda: described)

        def __post_init__(self) -> None:
            self.parameters = [*(self.parameters or []), *_header_parameters()]

    return SubmissionOperation


def _header_parameters() -> list[Parameter]:
    return [
        Parameter(name=name, param_in="header", required=False, description=text, schema=Schema(type="string"))  # pyright: ignore[reportArgumentType]
        for name, text in _SUBMISSION_HEADERS.items()
    ]


def _body(body: type[msgspec.Struct], *, is_required: bool) -> RequestBody:
    return RequestBody(content={"application/json": OpenAPIMediaType(schema=_schema(body))}, required=is_required)


def _schema(body: type[msgspec.Struct]) -> Any:
    (_, components) = msgspec.json.schema_components([body], ref_template="#/components/schemas/{name}")
    return _RawSchema(components[body.__name__])


class _RawSchema(Schema):
    """A JSON schema made by msgspec, passed through as it is."""

    def __init__(self, document: dict[str, Any]) -> None:
        super().__init__()
        self._document = document

    def to_schema(self) -> dict[str, Any]:
        return self._document
