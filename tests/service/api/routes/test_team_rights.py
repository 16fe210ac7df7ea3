"""What admins and members of a team may do to it and its models, and what others do not even see."""

from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from tests.service.api.serving import until
from tests.service.building import Side, a_model, store_key, store_team, store_user

Json = dict[str, Any]

ADMIN, MEMBER, OUTSIDER, OF_TEAM = (f"sk-test-{name}-0123456789" for name in ("admin", "member", "outsider", "team"))


@pytest.fixture(autouse=True)
def people(engine: Engine) -> None:
    """Ann leads the north team, bob is in it; eve leads the south team. The north team has a key of its own."""
    store_team(engine, "north", admins=["ann"], users=["bob"])
    store_team(engine, "south", admins=["eve"])
    for user_id, key in (("ann", ADMIN), ("bob", MEMBER), ("eve", OUTSIDER)):
        store_user(engine, user_id)
        store_key(engine, key, user_id)
    store_key(engine, OF_TEAM, team_id="north")


class Caller:
    """Asks with one key."""

    def __init__(self, client: httpx.AsyncClient, side: Side, key: str | None = None) -> None:
        self._client = client
        self._side = side
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    async def ask(self, method: str, path: str, body: Json | None = None) -> httpx.Response:
        return await self._client.request(method, path, json=body, headers=self._headers)

    async def get(self, path: str) -> Any:
        return (await self.ask("GET", path)).json()

    async def refused(self, path: str, body: Json, method: str = "POST") -> tuple[int, str]:
        """Status and code of a write that is refused at once."""
        response = await self.ask(method, path, body)
        return response.status_code, response.json().get("type", "").rpartition(":")[2]

    async def task(self, path: str, body: Json, method: str = "POST") -> Json:
        """The task of a write that is accepted, when it has ended."""
        response = await self.ask(method, path, body)
        assert response.status_code == 202, response.text
        self._side.drain.drain()
        return await self.get(f"/tasks/{response.json()['task_id']}")

    async def does(self, path: str, body: Json, method: str = "POST") -> Json:
        task = await self.task(path, body, method)
        assert task["status"] == "succeeded", task
        return task["result"]


@pytest.fixture
def master(client: httpx.AsyncClient, side: Side) -> Caller:
    return Caller(client, side)


@pytest.fixture
def ann(client: httpx.AsyncClient, side: Side) -> Caller:
    return Caller(client, side, ADMIN)


@pytest.fixture
def bob(client: httpx.AsyncClient, side: Side) -> Caller:
    return Caller(client, side, MEMBER)


@pytest.fixture
def eve(client: httpx.AsyncClient, side: Side) -> Caller:
    return Caller(client, side, OUTSIDER)


def of_north(model_id: str = "m-1", name: str = "own", **params: Any) -> Json:
    return a_model(name, info={"id": model_id, "team_id": "north"}, **params)


async def test_an_admin_of_the_team_makes_changes_and_deletes_its_models(ann: Caller) -> None:
    await ann.does("/model/new", of_north())
    await ann.does("/model/m-1/update", {"litellm_params": {"rpm": 1}}, "PATCH")
    await ann.does("/model/update", {"id": "m-1", "model_name": "renamed"})
    assert (await ann.get("/team/info?team_id=north"))["team_info"]["models"] == ["all-proxy-models", "renamed"]
    await ann.does("/model/delete", {"id": "m-1"})


async def test_a_member_may_look_and_not_touch(ann: Caller, bob: Caller) -> None:
    await ann.does("/model/new", of_north())
    assert await bob.refused("/model/new", of_north("m-2")) == (403, "not_permitted")
    for path in ("/model/delete", "/model/update"):
        assert await bob.refused(path, {"id": "m-1"}) == (403, "not_permitted")
    assert await bob.refused("/team/member_add", {"team_id": "north", "member": {"user_id": "x"}}) == (
        403,
        "not_permitted",
    )
    (entry,) = (await bob.get("/model/info"))["data"]
    assert entry["model_info"]["team_id"] == "north"
    assert (await bob.get("/team/info?team_id=north"))["team_id"] == "north"


async def test_to_others_neither_the_team_nor_its_models_are_there(ann: Caller, eve: Caller, master: Caller) -> None:
    await ann.does("/model/new", of_north())
    there = await master.get("/model/info?litellm_model_id=m-1")
    assert there["data"]
    for hidden, missing in (
        ("/model/info?litellm_model_id=m-1", "/model/info?litellm_model_id=m-9"),
        ("/model/m-1/history", "/model/m-9/history"),
        ("/models/own", "/models/owx"),
        ("/team/info?team_id=north", "/team/info?team_id=nortx"),
        ("/team/permissions_list?team_id=north", "/team/permissions_list?team_id=nortx"),
        ("/model/info?teamId=north", "/model/info?teamId=nortx"),
        ("/v2/model/info?teamId=north", "/v2/model/info?teamId=nortx"),
        ("/models?team_id=north", "/models?team_id=nortx"),
    ):
        seen, nothing = await eve.ask("GET", hidden), await eve.ask("GET", missing)
        assert (seen.status_code, seen.json().get("type")) == (nothing.status_code, nothing.json().get("type"))
        assert seen.status_code >= 400
    for path in ("/model/info", "/v2/model/info", "/models", "/model_group/info"):
        assert (await eve.get(path))["data"] == []
    assert [team["team_id"] for team in await eve.get("/team/list")] == ["south"]
    assert (await eve.get("/v2/team/list"))["total"] == 1
    assert (await eve.get("/v2/team/list?user_id=ann"))["total"] == 0


@pytest.mark.parametrize(
    ("path", "hidden", "missing"),
    [
        ("/model/update", {"id": "m-1"}, {"id": "m-9"}),
        ("/model/delete", {"id": "m-1"}, {"id": "m-9"}),
        ("/model/new", of_north("m-2"), a_model(info={"id": "m-2", "team_id": "nortx"})),
        ("/team/update", {"team_id": "north"}, {"team_id": "nortx"}),
        ("/team/member_add", *({"team_id": name, "member": {"user_id": "eve"}} for name in ("north", "nortx"))),
        ("/team/model/add", *({"team_id": name, "models": ["x"]} for name in ("north", "nortx"))),
    ],
)
async def test_what_others_write_meets_nothing(
    ann: Caller, eve: Caller, path: str, hidden: Json, missing: Json
) -> None:
    await ann.does("/model/new", of_north())
    seen, nothing = await eve.refused(path, hidden), await eve.refused(path, missing)
    assert seen == nothing
    assert seen[0] in (400, 404)


async def test_a_model_without_a_team_is_seen_by_all_and_changed_by_no_team(master: Caller, ann: Caller) -> None:
    await master.does("/model/new", a_model("free", info={"id": "m-1"}))
    assert [entry["id"] for entry in (await ann.get("/models"))["data"]] == ["free"]
    assert await ann.refused("/model/update", {"id": "m-1"}) == (403, "not_permitted")
    assert await ann.refused("/model/new", a_model()) == (403, "not_permitted")


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"aws_session_tags": {"team": "north"}}, "litellm_params.aws_session_tags"),
        ({"api_key": "oidc/google/audience"}, "litellm_params.api_key"),
        ({"api_key": "os.environ/OPENAI_API_KEY"}, "litellm_params.api_key"),
        ({"extra_headers": {"X-Key": "os.environ/OPENAI_API_KEY"}}, "litellm_params.extra_headers.X-Key"),
        ({"model": "huggingface/https://x.example"}, "litellm_params.model"),
        ({"litellm_credential_name": "shared"}, "litellm_params.litellm_credential_name"),
    ],
)
async def test_some_parameters_are_for_proxy_admins(master: Caller, ann: Caller, params: Json, param: str) -> None:
    await master.does(
        "/credentials", {"credential_name": "shared", "credential_values": {"api_base": "https://x.example"}}
    )
    response = await ann.ask("POST", "/model/new", of_north(**params))
    assert (response.status_code, response.json()["error"]["param"]) == (403, param)
    await ann.does("/model/new", of_north())
    if "litellm_credential_name" not in params:
        response = await ann.ask("PATCH", "/model/m-1/update", {"litellm_params": params})
        assert (response.status_code, response.json()["error"]["param"]) == (403, param)
    else:
        task = await ann.task("/model/m-1/update", {"litellm_params": params}, "PATCH")
        assert (task["status"], task["error"]["error"]["param"]) == ("failed", param)
    await master.does("/model/new", of_north("m-2", **params))


async def test_a_credential_that_an_admin_gave_stays_where_it_is(master: Caller, ann: Caller, eve: Caller) -> None:
    await master.does(
        "/credentials", {"credential_name": "shared", "credential_values": {"api_base": "https://x.example"}}
    )
    await master.does("/model/new", of_north(litellm_credential_name="shared"))
    await master.does("/team/member_add", {"team_id": "south", "member": {"user_id": "ann", "role": "admin"}})
    for change in ({"litellm_params": {"litellm_credential_name": None}}, {"model_info": {"team_id": "south"}}):
        task = await ann.task("/model/m-1/update", change, "PATCH")
        assert (task["status"], task["error"]["error"]["param"]) == ("failed", "litellm_params.litellm_credential_name")
    await ann.does("/model/m-1/update", {"litellm_params": {"rpm": 1, "litellm_credential_name": "shared"}}, "PATCH")


async def test_blocking_is_for_proxy_admins(master: Caller, ann: Caller) -> None:
    assert await ann.refused("/model/new", {**of_north(), "blocked": True}) == (403, "admin_only")
    await ann.does("/model/new", of_north())
    assert await ann.refused("/model/block", {"model_id": "m-1"}) == (403, "not_permitted")
    await master.does("/model/block", {"model_id": "m-1"})
    task = await ann.task("/model/m-1/update", {"blocked": False}, "PATCH")
    assert (task["status"], task["error"]["error"]["param"]) == ("failed", "blocked")


async def test_the_stored_key_is_not_sent_elsewhere(ann: Caller) -> None:
    await ann.does("/model/new", of_north())
    task = await ann.task("/model/m-1/update", {"litellm_params": {"api_base": "https://93.184.216.34"}}, "PATCH")
    assert (task["status"], task["error"]["type"]) == ("failed", "urn:pointsman:problem:secret_needed")


async def test_where_a_model_leads_is_judged_by_what_its_sender_is_when_it_is_applied(
    client: httpx.AsyncClient, side: Side, engine: Engine, master: Caller
) -> None:
    """Nobody judged the addresses of a proxy admin, who is only the admin of a team by then."""
    store_user(engine, "adam", "proxy_admin")
    store_key(engine, "sk-test-adam-0123456789", "adam")
    adam = Caller(client, side, "sk-test-adam-0123456789")
    await master.does("/team/member_add", {"team_id": "north", "member": {"user_id": "adam", "role": "admin"}})
    await adam.does("/model/new", of_north("m-1", api_base="http://10.0.0.1"))
    waiting = (await adam.ask("POST", "/model/new", of_north("m-2", api_base="http://10.0.0.1"))).json()["task_id"]
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE \"user\" SET role = 'internal_user' WHERE user_id = 'adam'")
    side.drain.drain()
    error = (await master.get(f"/tasks/{waiting}"))["error"]
    assert (error["type"], error["error"]["param"]) == ("urn:pointsman:problem:admin_only", "litellm_params.api_base")


async def test_a_name_that_matches_many_is_for_proxy_admins(master: Caller, ann: Caller) -> None:
    assert await ann.refused("/model/new", of_north(name="openai/*")) == (403, "admin_only")
    await master.does("/model/new", of_north(name="openai/*"))


async def test_a_move_needs_rights_on_both_teams(master: Caller, ann: Caller) -> None:
    await ann.does("/model/new", of_north())
    move = {"id": "m-1", "model_info": {"team_id": "south"}}

    async def is_answered(status: int) -> bool:
        """New rights are known a little later: what a key stands for is kept for a moment."""
        return (await ann.ask("POST", "/model/update", move)).status_code == status

    assert await ann.refused("/model/update", move) == (400, "unknown_team")
    await master.does("/team/member_add", {"team_id": "south", "member": {"user_id": "ann", "role": "user"}})
    await until(lambda: is_answered(403))
    await master.does("/team/member_update", {"team_id": "south", "user_id": "ann", "role": "admin"})
    await until(lambda: is_answered(202))
    assert (await ann.does("/model/update", move))["model_info"]["team_id"] == "south"


async def test_what_a_model_was_in_another_team_is_not_told(master: Caller, ann: Caller, eve: Caller) -> None:
    await ann.does("/model/new", of_north())
    await ann.does("/model/update", {"id": "m-1", "model_name": "secret-plan"})
    await master.does("/model/update", {"id": "m-1", "model_name": "moved", "model_info": {"team_id": "south"}})
    assert len((await master.get("/model/m-1/history"))["data"]) == 3
    history = await eve.ask("GET", "/model/m-1/history")
    assert [view["version"] for view in history.json()["data"]] == [3]
    assert "north" not in history.text
    assert "secret-plan" not in history.text
    assert (await ann.ask("GET", "/model/m-1/history")).status_code == 404
    await master.does("/model/delete", {"id": "m-1"})
    assert [view["is_deletion"] for view in (await eve.get("/model/m-1/history"))["data"]] == [True, False]
    assert (await ann.ask("GET", "/model/m-1/history")).status_code == 404


async def test_an_admin_of_the_team_manages_members_and_not_its_bounds(ann: Caller) -> None:
    await ann.does("/team/member_add", {"team_id": "north", "member": {"user_id": "zoe"}})
    await ann.does("/team/member_update", {"team_id": "north", "user_id": "zoe", "role": "admin"})
    await ann.does("/team/member_delete", {"team_id": "north", "user_id": "zoe"})
    await ann.does("/team/update", {"team_id": "north", "team_alias": "North"})
    for fields in ({"max_budget": 100}, {"blocked": True}):
        task = await ann.task("/team/update", {"team_id": "north", **fields})
        assert (task["status"], task["error"]["type"]) == ("failed", "urn:pointsman:problem:admin_only")
    for path, body in (
        ("/team/delete", {"team_ids": ["north"]}),
        ("/team/block", {"team_id": "north"}),
        ("/team/new", {"team_id": "west"}),
    ):
        assert (await ann.refused(path, body))[0] == 403


@pytest.mark.parametrize(
    ("path", "change", "code"),
    [("/team/member_update", {"role": "user"}, "not_permitted"), ("/team/member_delete", {}, "unknown_team")],
)
async def test_rights_that_are_lost_meanwhile_are_missed_when_applying(
    side: Side, ann: Caller, master: Caller, path: str, change: Json, code: str
) -> None:
    demotion = await master.ask("POST", path, {"team_id": "north", "user_id": "ann", **change})
    # Accepted on what is stored; it waits for what was accepted earlier in the team's line.
    accepted = await ann.ask("POST", "/model/new", of_north())
    assert (demotion.status_code, accepted.status_code) == (202, 202), accepted.text
    side.drain.drain()
    task = await master.get(f"/tasks/{accepted.json()['task_id']}")
    assert (task["status"], task["error"]["type"]) == ("failed", f"urn:pointsman:problem:{code}")


async def test_the_key_of_a_team_alone_administers_nothing(client: httpx.AsyncClient, side: Side, ann: Caller) -> None:
    await ann.does("/model/new", of_north())
    team = Caller(client, side, OF_TEAM)
    assert await team.refused("/model/new", of_north("m-2")) == (403, "not_permitted")
    assert [entry["id"] for entry in (await team.get("/models"))["data"]] == ["own"]
    assert (await team.get("/team/info?team_id=north"))["team_info"]["models"] == ["all-proxy-models", "own"]


async def test_names_are_those_that_the_caller_may_call(
    client: httpx.AsyncClient, side: Side, engine: Engine, master: Caller, ann: Caller
) -> None:
    await ann.does("/model/new", of_north())
    for n, (name, groups) in enumerate({"gpt": [], "claude": ["beta"], "azure/gpt": []}.items()):
        await master.does("/model/new", a_model(name, info={"id": f"free-{n}", "access_groups": groups}))
    key = "sk-test-limited-0123456789"
    store_key(engine, key, "bob", models=["beta", "azure/*", "own"])
    limited, team = Caller(client, side, key), Caller(client, side, OF_TEAM)

    async def names(of: Caller) -> set[str]:
        listed = {entry["id"] for entry in (await of.get("/models"))["data"]}
        shown = {entry["model_name"] for entry in (await of.get("/model/info"))["data"]}
        paged = {entry["model_name"] for entry in (await of.get("/v2/model/info"))["data"]}
        assert listed == shown == paged
        return listed

    assert await names(team) == {"own", "gpt", "claude", "azure/gpt"}
    assert await names(limited) == {"own", "claude", "azure/gpt"}
    await master.does("/team/update", {"team_id": "north", "models": ["gpt"]})
    assert await names(team) == {"own", "gpt"}
    await master.does("/team/update", {"team_id": "north", "models": ["no-default-models"]})
    assert await names(team) == {"own"}
    assert {entry["id"] for entry in (await ann.get("/models?team_id=north"))["data"]} == {"own"}


async def test_keys_of_a_team_are_shown_to_its_admins(ann: Caller, bob: Caller, master: Caller) -> None:
    for caller, count in ((master, 1), (ann, 1), (bob, 0)):
        shown = await caller.get("/team/info?team_id=north")
        assert len(shown["keys"]) == count
        assert OF_TEAM not in str(shown)
    assert (await ann.get("/v2/team/list"))["teams"][0]["keys_count"] == 1


async def test_who_leaves_a_team_leaves_the_keys_in_it_behind(
    client: httpx.AsyncClient, side: Side, engine: Engine, master: Caller
) -> None:
    key, own = "sk-test-bob-in-north-0123456789", "sk-test-bob-at-home-0123456789"
    gone = store_key(engine, key, "bob", team_id="north")
    store_key(engine, own, "bob")
    left = await master.does("/team/member_delete", {"team_id": "north", "user_id": "bob"})
    assert left["deleted_keys"] == [gone.key_id]
    assert (await master.get("/team/info?team_id=north"))["keys"][0]["user_id"] is None


async def test_a_team_goes_with_its_keys(master: Caller, ann: Caller) -> None:
    await ann.does("/model/new", of_north())
    gone = await master.does("/team/delete", {"team_ids": ["north"]})
    assert (gone["deleted_models"], len(gone["deleted_keys"])) == (["m-1"], 1)
    logged = (await master.get("/audit?action=deleted"))["audit_logs"]
    assert {entry["object_type"] for entry in logged} == {"team", "model", "key"}


async def test_metadata_that_looks_secret_is_shown_to_proxy_admins_only(master: Caller, ann: Caller) -> None:
    metadata = {"cost_centre": "7", "callback_secret": "s3cr3t-of-a-callback"}
    await master.does("/team/update", {"team_id": "north", "metadata": metadata})
    assert (await master.get("/team/info?team_id=north"))["team_info"]["metadata"] == metadata
    assert (await ann.get("/team/info?team_id=north"))["team_info"]["metadata"] == {"cost_centre": "7"}
