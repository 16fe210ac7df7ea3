"""The documentation says what the code does. Tables are made from the code: `WRITE_DOCS=1` writes them anew."""

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from msgspec import Meta

from cli.main import _COMMANDS
from shared.contract.errors import CATALOGUE
from shared.contract.events import EVENTS
from shared.domain.rights import EVERY_RELATION, RIGHTS, Relation, Role
from shared.domain.tasks import TRANSITIONS
from shared.messaging import broker
from shared.outbox import webhook
from shared.runtime.clock import now
from shared.runtime.settings import Secret, Settings, variable_of
from tests.support.unconnected import unconnected_app
from worker.deliver import LEASE_S
from worker.senders import slack, transport

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]

Row = tuple[str, ...]


def _table(columns: Row, rows: Iterable[Row]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _settings() -> str:
    hints = get_type_hints(Settings, include_extras=True)
    rows = [
        (f"`{variable_of(field.name)}`", _default(field), _meaning(hints[field.name]))
        for field in msgspec.structs.fields(Settings)
    ]
    return _table(("variable", "default", "meaning"), rows)


def _default(field: Any) -> str:
    if field.required:
        return "required"
    if field.default in (None, ""):
        return "none"
    if isinstance(field.default, tuple):
        return f"`{','.join(f'{value:g}' if isinstance(value, int | float) else value for value in field.default)}`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


def _meaning(hint: Any) -> str:
    kind, *metas = get_args(hint)
    texts = [meta.description for meta in metas if isinstance(meta, Meta) and meta.description]
    limits = [
        f"{word} {value:.12g}"
        for meta in metas
        for word, value in (("more than", meta.gt), ("at least", meta.ge), ("at most", meta.le))
        if value is not None
    ]
    if limits:
        texts.append(f"({', '.join(limits)})")
    if kind is Secret or Secret in get_args(kind):
        texts.append("Also as `…_FILE`.")
    choices = [choice for choice in get_args(kind) if isinstance(choice, str)]
    if choices:
        texts.append("One of " + ", ".join(f"`{choice}`" for choice in choices) + ".")
    return " ".join(texts)


def _errors() -> str:
    rows = [
        (f"`{code}`", str(kind.status), f"`{kind.litellm_type}`", kind.title + ".", kind.help)
        for code, kind in sorted(CATALOGUE.items(), key=lambda item: (item[1].status, item[0]))
    ]
    return _table(("code", "status", "`error.type`", "what happened", "what to do"), rows)


def _events() -> str:
    rows = [
        (f"`{name}`", kind.summary, ", ".join(f"`{field}`" for field in kind.fields)) for name, kind in EVENTS.items()
    ]
    return _table(("event", "when", "`data`"), rows)


_RELATION_ORDER = ("own", "team_admin", "team_member", "open")


def _rights() -> str:
    rows = [
        (f"`{operation}`", *(_relations(allowed.get(role)) for role in get_args(Role)))
        for operation, allowed in RIGHTS.items()
    ]
    return _table(("operation", *(f"`{role}`" for role in get_args(Role))), rows)


def _relations(allowed: frozenset[Relation] | None) -> str:
    if not allowed:
        return "no"
    if allowed == EVERY_RELATION:
        return "all"
    return ", ".join(name.replace("_", " ") for name in _RELATION_ORDER if name in allowed)


def _retries() -> str:
    waits = msgspec.structs.fields(Settings)
    schedule: tuple[float, ...] = next(field.default for field in waits if field.name == "webhook_schedule")
    since = 0.0
    rows: list[Row] = [("1", "at once", "0 s")]
    for number, wait in enumerate(schedule, start=2):
        since += wait
        rows.append((str(number), _span(wait), _span(since)))
    return _table(("attempt", "wait before it", "since the first"), rows)


def _span(seconds: float) -> str:
    parts = [("d", 86400), ("h", 3600), ("min", 60), ("s", 1)]
    told: list[str] = []
    for name, size in parts:
        count, seconds = divmod(seconds, size)
        if count:
            told.append(f"{count:g} {name}")
    return " ".join(told)


GENERATED: dict[tuple[str, str], Callable[[], str]] = {
    ("access.md", "rights"): _rights,
    ("configuration.md", "settings"): _settings,
    ("errors.md", "errors"): _errors,
    ("events.md", "events"): _events,
    ("events.md", "retries"): _retries,
}


@pytest.mark.parametrize(("page", "name"), GENERATED)
def test_generated_tables_are_up_to_date(page: str, name: str) -> None:
    path = DOCS / page
    begin, end = f"<!-- made from the code: {name} -->\n", "<!-- end -->"
    text = path.read_text(encoding="utf-8")
    assert text.count(begin) == 1, f"{page} has no place for {name}"
    before, _, rest = text.partition(begin)
    assert end in rest, f"{page} does not say where {name} ends"
    table, _, after = rest.partition(end)
    made = GENERATED[page, name]() + "\n"
    if os.environ.get("WRITE_DOCS"):
        path.write_text(before + begin + made + end + after, encoding="utf-8")
        return
    assert table == made, f"write docs/{page} anew: WRITE_DOCS=1 pytest {Path(__file__).relative_to(ROOT)}"


def test_the_state_machine_is_drawn_as_it_is() -> None:
    arrows = re.findall(r"^ *(\S+) --> (\S+)$", _read("concepts.md"), re.MULTILINE)
    drawn = {(source, target) for source, target in arrows if "[*]" not in (source, target)}
    assert drawn == {(source, target) for source, targets in TRANSITIONS.items() for target in targets}
    assert {source for source, target in arrows if target == "[*]"} == {
        state for state, to in TRANSITIONS.items() if not to
    }
    assert ("[*]", "queued") in arrows


def test_every_celery_setting_has_its_reason() -> None:
    settings = broker._settings("redis://127.0.0.1:1/0", 2.0)
    set_here = settings.keys() | settings["broker_transport_options"].keys()
    section = _read("running.md").partition("## Why Celery is configured as it is")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+)", section, re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert explained == set_here - {"broker_url", "broker_transport_options"}


def test_every_route_is_listed() -> None:
    routes = {
        f"{method} {route.path.replace(':str', '').replace(':path', '')}"
        for route in unconnected_app().routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    listed = set(
        re.findall(
            r"`((?:GET|POST|PATCH|DELETE) /\S*?)`", _read("litellm.md").partition("## Routes")[2].partition("\n## ")[0]
        )
    )
    assert listed == routes


def test_the_example_of_verifying_works() -> None:
    example = re.search(r"```python\n(.*?)```", _read("events.md"), re.DOTALL)
    assert example
    names: dict[str, Any] = {}
    exec(example[1], names)
    secret, body = webhook.new_secret(), webhook.body("task.succeeded", now(), {"task_id": "t"})
    headers = webhook.sign([secret], "evt_1", now(), body)
    assert names["is_genuine"](secret, body, headers)
    assert not names["is_genuine"](secret, body + b" ", headers)


def test_deadlines_are_told_as_they_are() -> None:
    text = _read("events.md")
    assert f"{transport.DEADLINE_S:g} s" in text
    assert f"{slack.DEADLINE_S:g} s" in text
    assert f"{LEASE_S:g} s" in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_the_text_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    known = {variable_of(field.name) for field in msgspec.structs.fields(Settings)}
    named = set(re.findall(r"\bPOINTSMAN_[A-Z_]*[A-Z]", text))
    assert {name if name in known else name.removesuffix("_FILE") for name in named} <= known
    assert set(re.findall(r"`pointsman ([a-z]+)", text)) <= _COMMANDS.keys()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", text)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_codes_in_the_text_exist(page: Path) -> None:
    codes = re.findall(r"urn:pointsman:problem:([a-z_]+)", page.read_text(encoding="utf-8"))
    assert set(codes) <= CATALOGUE.keys()


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"docs/{page.name}" for page in DOCS.glob("*.md")} <= set(re.findall(r"\]\((docs/[^)#]+)", readme))


def _read(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8")
