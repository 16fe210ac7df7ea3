"""What changes to a model mean, without anything around it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.models import decode_change, to_update
from shared.domain import models
from shared.domain.decision import Context, Decision, Installation
from shared.domain.models import CreateModel, DeleteModel, Model, RollbackModel, UpdateModel
from shared.domain.problems import (
    AdminOnly,
    ModelExists,
    ModelInConfig,
    ModelNotFound,
    ModelStorageOff,
    PreconditionFailed,
    Refusal,
    SecretNeeded,
    VersionNotFound,
)
from shared.domain.rights import MASTER, Principal
from shared.encryption.sensitivity import is_sensitive_name

_NOW = datetime(2026, 1, 2, tzinfo=UTC)
_SOMEBODY = Principal(user_id="somebody", role="internal_user", key_id="k")
Json = dict[str, Any]

_names = st.sampled_from(("region", "api_base", "custom", "tags", "api_key"))
_values = st.one_of(st.integers(0, 99), st.text("abc", max_size=3), st.lists(st.booleans(), max_size=2))
_params = st.dictionaries(_names, _values, max_size=4)
_patches = st.fixed_dictionaries(
    {},
    optional={
        "litellm_params": st.dictionaries(_names, st.none() | _values, max_size=4),
        "model_info": st.dictionaries(st.sampled_from(("id", "mode", "own")), st.none() | st.text("xyz", max_size=3)),
        "model_name": st.none() | st.text("nm", max_size=2),
        "blocked": st.none() | st.booleans(),
    },
)


def a_model(**fields: Any) -> Model:
    given: Json = {
        "model_id": "m1",
        "model_name": "gpt",
        "litellm_params": {"model": "openai/x"},
        "model_info": {},
        "blocked": False,
        "version": 1,
        "created_at": _NOW,
        "created_by": "u",
        "updated_at": _NOW,
        "updated_by": "u",
    }
    return Model(**{**given, **fields})


def context(principal: Principal = MASTER, **installation: Any) -> Context:
    return Context(
        now=_NOW + timedelta(seconds=1),
        principal=principal,
        task_id="t1",
        installation=Installation(**installation),
        is_secret_name=is_sensitive_name,
    )


def patched(model: Model, patch: Json) -> Model:
    command = to_update(decode_change(msgspec.json.encode(patch)), model.model_id)
    decision = models.update({models.ref(model.model_id): model}, command, context())
    return decision.objects.get(models.ref(model.model_id), model)


def content(model: Model) -> tuple[Any, ...]:
    return model.model_id, model.model_name, model.litellm_params, model.model_info, model.blocked


def decided(model: Model | None, command: Any, **where: Any) -> Decision:
    decide = {UpdateModel: models.update, DeleteModel: models.delete, CreateModel: models.create}[type(command)]
    return decide({models.ref(command.model_id): model}, command, context(**where))


@given(_params)
def test_an_empty_patch_changes_nothing(params: Json) -> None:
    model = a_model(litellm_params=params)
    for patch in ({}, {"litellm_params": {}, "model_info": {}, "model_name": "", "blocked": None}):
        assert patched(model, patch) is model


@given(_params, _patches)
def test_a_patch_twice_is_the_patch_once(params: Json, patch: Json) -> None:
    once = patched(a_model(litellm_params=params), patch)
    assert content(patched(once, patch)) == content(once)


@given(_params, _patches)
def test_what_a_patch_does_not_name_survives(params: Json, patch: Json) -> None:
    model = a_model(litellm_params={"model": "openai/x", **params}, model_info={"kept": [1], "mode": "m"})
    after = patched(model, patch)
    named = patch.get("litellm_params", {})
    assert {n: v for n, v in after.litellm_params.items() if n not in named} == {
        n: v for n, v in model.litellm_params.items() if n not in named
    }
    assert after.model_info["kept"] == [1]
    assert after.model_id == "m1"
    assert "id" not in after.model_info


@given(_params, _names)
def test_null_removes_as_does_the_list_of_what_to_remove(params: Json, name: str) -> None:
    model = a_model(litellm_params={"model": "openai/x", **params})
    by_null = patched(model, {"litellm_params": {name: None}})
    assert name not in by_null.litellm_params
    assert content(by_null) == content(patched(model, {"litellm_params_to_remove": [name]}))


@given(_params, _params, _params)
def test_patches_of_different_parameters_may_come_in_any_order(params: Json, a: Json, b: Json) -> None:
    b = {name: value for name, value in b.items() if name not in a}
    model = a_model(litellm_params=params)
    first, second = {"litellm_params": a}, {"litellm_params": b}
    assert content(patched(patched(model, first), second)) == content(patched(patched(model, second), first))


def test_a_change_counts_and_says_who_made_it() -> None:
    after = patched(a_model(version=3), {"litellm_params": {"rpm": 1}})
    assert (after.version, after.updated_by, after.created_by) == (4, "default_user_id", "u")
    assert after.updated_at > after.created_at
    assert models.etag(after) != models.etag(a_model(version=3))


def test_what_is_so_already_is_confirmed_and_nobody_is_told() -> None:
    decision = models.unblock({models.ref("m1"): a_model()}, models.UnblockModel(model_id="m1"), context())
    assert not decision.is_change
    assert (decision.changes, decision.events) == ((), ())
    assert decision.result["version"] == 1


@pytest.mark.parametrize(("blocked", "told"), [(True, "model.blocked"), (False, "model.unblocked")])
def test_whoever_hears_of_blocked_models_hears_of_an_update_that_blocks(blocked: bool, told: str) -> None:
    state = {models.ref("m1"): a_model(blocked=not blocked)}
    decision = models.update(state, UpdateModel(model_id="m1", blocked=blocked, model_name="new"), context())
    assert [event.type for event in decision.events] == ["model.updated", told]


def test_blocking_and_back() -> None:
    blocked = models.block({models.ref("m1"): a_model()}, models.BlockModel(model_id="m1"), context())
    after = blocked.objects[models.ref("m1")]
    assert (after.blocked, after.version, blocked.events[0].type) == (True, 2, "model.blocked")
    assert len(blocked.events) == 1
    back = models.unblock({models.ref("m1"): after}, models.UnblockModel(model_id="m1"), context())
    assert (back.objects[models.ref("m1")].blocked, back.events[0].type) == (False, "model.unblocked")


def test_a_deletion_leaves_nothing_and_says_so() -> None:
    decision = decided(a_model(), DeleteModel(model_id="m1"))
    assert decision.objects == {models.ref("m1"): None}
    assert decision.changes[0].after is None
    assert decision.events[0].type == "model.deleted"


@pytest.mark.parametrize("command", [UpdateModel(model_id="m1"), DeleteModel(model_id="m1")])
@pytest.mark.parametrize(
    ("model", "installation", "refusal"),
    [
        (None, {}, ModelNotFound),
        (None, {"stores_models": False}, ModelStorageOff),
        (a_model(), {"config_model_ids": frozenset(("m1",))}, ModelInConfig),
    ],
)
def test_what_cannot_be_changed(command: Any, model: Model | None, installation: Json, refusal: type[Refusal]) -> None:
    with pytest.raises(refusal):
        decided(model, command, **installation)


def test_a_change_of_another_state_than_the_expected_is_refused() -> None:
    model = a_model()
    for tag in (models.etag(model), "*", None):
        decided(model, DeleteModel(model_id="m1", if_match=tag))
    with pytest.raises(PreconditionFailed):
        decided(model, DeleteModel(model_id="m1", if_match='"1-0"'))


@pytest.mark.parametrize("where", ["stored", "file"])
def test_an_id_is_taken_once(where: str) -> None:
    command = CreateModel(model_id="m1", model_name="x", litellm_params={}, model_info={})
    with pytest.raises(ModelExists):
        decided(
            a_model() if where == "stored" else None,
            command,
            config_model_ids=frozenset(("m1",) if where == "file" else ()),
        )


@pytest.mark.parametrize(
    "name",
    [
        "api_base",
        "base_url",
        "custom_llm_provider",
        "aws_bedrock_runtime_endpoint",
        "aws_region_name",
        "vertex_location",
        "account_id",
        "configurable_clientside_auth_params",
    ],
)
@pytest.mark.parametrize(
    ("stored", "also_given", "is_allowed"),
    [
        ({"api_key": "sealed"}, {}, False),
        ({"api_key": "sealed"}, {"api_key": "anew"}, True),
        ({"api_key": "sealed"}, {"my_token": "any"}, False),
        ({"extra_headers": {"Authorization": "sealed"}}, {}, False),
        ({"fallbacks": [{"api_key": "sealed"}]}, {}, False),
        ({"rpm": 1}, {}, True),
    ],
)
def test_a_new_destination_needs_every_stored_secret_again(
    name: str, stored: Json, also_given: Json, is_allowed: bool
) -> None:
    state = {models.ref("m1"): a_model(litellm_params=stored)}
    command = UpdateModel(model_id="m1", set_params={name: "elsewhere", **also_given})
    assert models.update(state, command, context(MASTER)).is_change
    if is_allowed:
        assert models.update(state, command, context(_SOMEBODY)).is_change
    else:
        with pytest.raises(SecretNeeded) as refused:
            models.update(state, command, context(_SOMEBODY))
        assert refused.value.problem().param == f"litellm_params.{name}"


def test_a_destination_deep_inside_is_a_new_destination() -> None:
    state = {models.ref("m1"): a_model(litellm_params={"api_key": "sealed"})}
    command = UpdateModel(model_id="m1", set_params={"fallbacks": [{"api_base": "elsewhere"}]})
    with pytest.raises(SecretNeeded) as refused:
        models.update(state, command, context(_SOMEBODY))
    assert refused.value.problem().param == "litellm_params.fallbacks[0].api_base"


@pytest.mark.parametrize("credential", [{}, {models.CREDENTIAL_PARAM: "sealed"}])
def test_the_secret_of_a_credential_is_not_sent_elsewhere(credential: Json) -> None:
    """However the team's own secrets are given: nobody but a proxy admin could give this one again."""
    state = {models.ref("m1"): a_model(litellm_params={"model": "openai/x"}, credential_name="shared")}
    command = UpdateModel(
        model_id="m1",
        set_params={"api_base": "elsewhere", "api_key": "anew", **credential},
        credential_name="shared" if credential else None,
    )
    assert models.update(state, command, context(MASTER)).is_change
    with pytest.raises(AdminOnly) as refused:
        models.update(state, command, context(_SOMEBODY))
    assert refused.value.problem().param == "litellm_params.api_base"


def test_removing_a_destination_is_a_new_destination() -> None:
    state = {models.ref("m1"): a_model(litellm_params={"api_base": "here", "api_key": "sealed"})}
    with pytest.raises(SecretNeeded):
        models.update(state, UpdateModel(model_id="m1", remove_params=("api_base",)), context(_SOMEBODY))


def test_a_rollback_restores_what_a_model_says_and_not_what_it_is() -> None:
    earlier = a_model(litellm_params={"model": "a"}, model_info={"x": 1}, updated_by="earlier")
    present = a_model(litellm_params={"model": "b"}, model_info={}, blocked=True, model_name="b", version=4)
    state = {models.ref("m1"): present, models.revision_ref("m1", 1): earlier}
    after = models.rollback(state, RollbackModel(model_id="m1", to_version=1), context()).objects[models.ref("m1")]
    assert content(after) == content(earlier)
    assert (after.version, after.updated_by) == (5, "default_user_id")


@pytest.mark.parametrize("earlier", [None, a_model(created_at=_NOW - timedelta(days=1))])
def test_neither_a_deletion_nor_the_state_of_an_earlier_life_comes_back(earlier: Model | None) -> None:
    state = {models.ref("m1"): a_model(version=3), models.revision_ref("m1", 2): earlier}
    with pytest.raises(VersionNotFound):
        models.rollback(state, RollbackModel(model_id="m1", to_version=2), context())
