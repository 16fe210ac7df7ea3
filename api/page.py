"""The OpenAPI document as a page to read: plain HTML that needs no script, and nothing from elsewhere."""

import json
import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, cast

Document = Mapping[str, Any]

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); --get: #1a7f5a; --post: #2f6fd0; --bad: #b3492d; }
@media (prefers-color-scheme: dark) { :root { --get: #4cc38a; --post: #7ab0ff; --bad: #f0926f; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { margin: 0; } h2 { margin: 2.5rem 0 .5rem; } h3 { margin: 1rem 0 .25rem; font-size: 1rem; }
p { margin: .5rem 0; } code, pre { font-family: ui-monospace, monospace; font-size: .9em; }
code { background: var(--soft); border-radius: 4px; padding: .1em .3em; overflow-wrap: anywhere; }
pre { background: var(--soft); border-radius: 6px; padding: .75rem; overflow-x: auto; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { cursor: pointer; padding: .5rem .75rem; } details[open] > summary { border-bottom: 1px solid var(--line); }
details > div { padding: .25rem .75rem .75rem; overflow-x: auto; }
summary code { background: none; font-weight: 600; } summary span { opacity: .75; }
.method { display: inline-block; min-width: 3.2rem; font: 700 .8rem ui-monospace, monospace; color: var(--get); }
.post { color: var(--post); } .bad { color: var(--bad); }
table { border-collapse: collapse; width: 100%; font-size: .95em; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; opacity: .75; } td:first-child { white-space: nowrap; }
"""
_CODE = re.compile(r"`([^`]+)`")


def page(document: Document) -> str:
    info = document["info"]
    body = "".join(
        (
            f"<h1>{_text(info['title'])} <small>{_text(info['version'])}</small></h1>",
            _prose(info["description"]),
            '<p>For programs: <a href="/openapi.json"><code>/openapi.json</code></a></p>',
            _keys(document["components"]["securitySchemes"]),
            *(_group(document, tag) for tag in document["tags"]),
            "<h2>Shapes</h2>",
            *(_shape(name, schema) for name, schema in document["components"]["schemas"].items()),
        )
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(info['title'])} API</title><style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _keys(schemes: Document) -> str:
    others = ", ".join(f"<code>{_text(scheme['name'])}</code>" for scheme in schemes.values() if "name" in scheme)
    return f"<h2>Key</h2><p>Send it as <code>Authorization: Bearer sk-…</code>, or plain in one of {others}.</p>"


def _group(document: Document, tag: Document) -> str:
    operations = "".join(
        _operation(method, path, operation)
        for path, methods in sorted(document["paths"].items())
        for method, operation in methods.items()
        if tag["name"] in operation["tags"]
    )
    return f"<h2>{_text(tag['name'].capitalize())}</h2>{_prose(tag['description'])}{operations}"


def _operation(method: str, path: str, operation: Document) -> str:
    body = operation.get("requestBody", {}).get("content", {})
    parts = (
        _prose(operation.get("description", "")),
        "<p>Needs no key.</p>" if operation.get("security") == [] else "",
        _parameters(operation.get("parameters", ())),
        *(f"<h3>Body</h3><p>{_type(content['schema'])}, {_text(media)}</p>" for media, content in body.items()),
        _answers(operation["responses"]),
    )
    name = _text(f"{method}{path.replace('/', '-')}")
    title = f'<span class="method {method}">{method.upper()}</span> <code>{_text(path)}</code>'
    return (
        f"<details><summary>{title} <span>{_text(operation['summary'])}</span></summary>"
        f'<div id="{name}">{"".join(parts)}</div></details>'
    )


def _parameters(parameters: Iterable[Document]) -> str:
    rows = [
        (
            f"<code>{_text(parameter['name'])}</code>",
            _text(parameter["in"]),
            _type(parameter["schema"]),
            _inline(parameter.get("description", "")),
        )
        for parameter in parameters
    ]
    return _table("Parameters", ("name", "in", "type", ""), rows)


def _answers(responses: Document) -> str:
    rows = [
        (
            f'<span class="{"bad" if status >= "400" else ""}">{_text(status)}</span>',
            " ".join(_type(content["schema"]) for content in response.get("content", {}).values()),
            _inline(response["description"]) + _headers(response.get("headers", {})),
        )
        for status, response in sorted(responses.items())
    ]
    return _table("Answers", ("status", "shape", ""), rows)


def _headers(headers: Document) -> str:
    return "".join(
        f"<br><code>{_text(name)}</code>: {_inline(header['description'])}" for name, header in headers.items()
    )


def _shape(name: str, schema: Document) -> str:
    required = schema.get("required", ())
    rows = [
        (
            f"<code>{_text(field)}</code>{'' if field in required else ' <small>optional</small>'}",
            _type(of),
            _inline(of.get("description", "")),
        )
        for field, of in schema.get("properties", {}).items()
    ]
    fields = _table("", ("field", "type", ""), rows)
    return (
        f"<details><summary><code>{_text(name)}</code></summary>"
        f'<div id="{_text(name)}">{_prose(schema.get("description", ""))}{fields}</div></details>'
    )


def _table(title: str, columns: Iterable[str], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    heading = f"<h3>{_text(title)}</h3>" if title else ""
    return f"{heading}<table><tr>{head}</tr>{lines}</table>"


def _type(schema: Document) -> str:
    """The type as a person would say it, with links to shapes."""
    if "$ref" in schema:
        name = _text(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if variants := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(_type(variant) for variant in variants)
    if "enum" in schema:
        return ", ".join(f"<code>{_text(json.dumps(value))}</code>" for value in schema["enum"])
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return _text(" or ".join(cast("list[str]", kind)) if isinstance(kind, list) else kind) + _limits(schema)


def _limits(schema: Document) -> str:
    names = {"minimum": "at least", "maximum": "at most", "format": "", "default": "default"}
    told = [f"{word} {schema[name]}".strip() for name, word in names.items() if schema.get(name) is not None]
    return f" <small>({_text(', '.join(told))})</small>" if told else ""


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _inline(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", _text(text))


def _text(value: str) -> str:
    return escape(value)
