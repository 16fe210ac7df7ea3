import httpx

from tests.service.building import a_model


async def test_a_model_is_accepted(client: httpx.AsyncClient) -> None:
    response = await client.post("/model/new", json=a_model())
    assert response.status_code == 202, response.text
    task = response.json()
    assert response.headers["Location"] == f"/tasks/{task['task_id']}"
    assert response.headers["Retry-After"] == "1"
    assert (task["status"], task["operation"], task["object_type"]) == ("queued", "model.create", "model")
