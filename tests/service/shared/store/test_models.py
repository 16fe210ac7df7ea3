"""Reading models out of ten thousand costs what reading them out of fifty costs: the plans say so."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, make_url
from sqlalchemy.dialects import postgresql

from shared.domain.rights import Scope
from shared.store import migrations, models
from shared.store.models import ListFilter
from shared.store.rows import Selection
from tests.support.servers import PostgresServer

_COUNT = 10_000
_FILL = f"""
INSERT INTO model (model_id, model_name, litellm_params, model_info, blocked, version, revision,
                   created_at, created_by, updated_at, updated_by)
SELECT 'm-' || n, 'group-' || mod(n, 1000),
       jsonb_build_object('model', repeat('x', 200), 'input_cost_per_token', mod(n, 7)),
       jsonb_build_object('mode', 'chat'), mod(n, 100) = 0, 1, n,
       now() - n * interval '1 second', 'u', now() - mod(n * 7919, {_COUNT}) * interval '1 second', 'u'
  FROM generate_series(1, {_COUNT}) AS n;
UPDATE head SET model_count = {_COUNT};
"""
_ANY = ListFilter()


@pytest.fixture(scope="module")
def crowded(postgres_server: PostgresServer) -> Iterator[Connection]:
    url = postgres_server.create_database("crowded")
    migrations.upgrade(url)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(_FILL)
        connection.exec_driver_sql("VACUUM ANALYZE")
        yield connection
    engine.dispose()
    postgres_server.drop_database("crowded")


def _page(wanted: ListFilter = _ANY, *, sort_by: str | None = None, sort_order: Any = "asc") -> Selection:
    return models.page(wanted, limit=50, offset=0, sort_by=sort_by, sort_order=sort_order)


def _nodes(connection: Connection, statement: Selection) -> list[dict[str, Any]]:
    """The plan's nodes, with how many rows each really came across."""
    compiled = statement.compile(dialect=postgresql.psycopg.dialect(), compile_kwargs={"render_postcompile": True})
    (plan,) = connection.exec_driver_sql(
        "EXPLAIN (ANALYZE, FORMAT JSON) " + str(compiled), dict(compiled.params)
    ).scalar_one()
    found: list[dict[str, Any]] = []
    left = [plan["Plan"]]
    while left:
        node = left.pop()
        found.append(node)
        left.extend(node.get("Plans", ()))
    return found


@pytest.mark.parametrize(
    "statement",
    [
        _page(),
        _page(sort_order="desc"),
        _page(sort_by="something-else"),
        _page(sort_by="created_at", sort_order="desc"),
        _page(sort_by="updated_at"),
        _page(sort_by="updated_at", sort_order="desc"),
        _page(sort_by="model_name"),
        _page(sort_by="model_name", sort_order="desc"),
        _page(ListFilter(name="group-7")),
        _page(ListFilter(name="group-7"), sort_by="updated_at"),
        _page(ListFilter(model_id="m-7")),
        _page(ListFilter(search="GROUP-77")),
        _page(ListFilter(hidden_ids=("m-1", "m-2"))),
        models.count(ListFilter(name="group-7")),
        models.count(ListFilter(model_id="m-7")),
        models.count(ListFilter(search="group-777")),
        models.count(_ANY),
        models.by_ids().params(model_ids=["m-7"]),
        models.everything(ListFilter(name="group-7")),
        models.is_any(ListFilter(name="group-7")),
        _page(ListFilter(name="group-7", scope=Scope(team_ids=frozenset(("t-1",)), is_open=True))),
        models.known_ids().params(model_ids=["m-7", "m-8"]),
        models.with_creation().params(model_ids=["m-7"]),
    ],
)
def test_a_page_of_ten_thousand_reads_a_page(crowded: Connection, statement: Selection) -> None:
    nodes = _nodes(crowded, statement)
    assert not [node for node in nodes if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "model"]
    read = [node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0) for node in nodes]
    assert max(read) <= 400, json.dumps(nodes, indent=1)


@pytest.mark.parametrize("sort_order", ["asc", "desc"])
@pytest.mark.parametrize("sort_by", ["model_name", "created_at", "updated_at", "costs", "status"])
def test_pages_join_without_a_gap(crowded: Connection, sort_by: str, sort_order: Any) -> None:
    pages = [
        models.page(_ANY, limit=700, offset=offset, sort_by=sort_by, sort_order=sort_order)
        for offset in range(0, _COUNT, 700)
    ]
    ids = [row.model_id for page in pages for row in crowded.execute(page)]
    assert len(ids) == len(set(ids)) == _COUNT


def test_a_count_without_a_filter_is_the_workers(crowded: Connection) -> None:
    assert crowded.execute(models.count(_ANY)).scalar_one() == _COUNT
    assert crowded.execute(models.count(ListFilter(hidden_ids=("m-1",)))).scalar_one() == _COUNT - 1
    assert crowded.execute(models.count(ListFilter(blocked=True))).scalar_one() == _COUNT // 100


@pytest.mark.parametrize("search", ["100%", "group_1", "\\", "'"])
def test_a_search_takes_signs_as_they_are(crowded: Connection, search: str) -> None:
    assert crowded.execute(models.count(ListFilter(search=search))).scalar_one() == 0


def test_a_model_without_a_price_comes_after_those_with_one(crowded: Connection) -> None:
    crowded.exec_driver_sql("UPDATE model SET litellm_params = '{}' WHERE model_id = 'm-5000'")
    for sort_order in ("asc", "desc"):
        last = models.page(_ANY, limit=1, offset=_COUNT - 1, sort_by="costs", sort_order=sort_order)
        assert [row.model_id for row in crowded.execute(last)] == ["m-5000"]
