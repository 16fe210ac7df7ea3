"""The real `litellm-proxy` command and Python client, run against `pointsman up`: what each command came to.

Usage: python -m tests.compat.official_client BIN, where BIN is the folder with the command and its Python.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.e2e.stacks import Stack

_DEADLINE_S = 120
_FILE = """
model_list:
  - model_name: imported-1
    litellm_params: {model: azure/gpt-4o, api_base: https://north.example.com, api_key: sk-of-a-provider-1, rpm: 10}
  - model_name: imported-2
    litellm_params: {model: openai/*, api_key: os.environ/OPENAI_API_KEY}
    model_info: {access_groups: [everybody]}
"""
_CLIENT = """
import json, sys
from litellm.proxy.client import Client
client = Client(base_url=sys.argv[1], api_key=sys.argv[2])
row = client.models.new("by-client", {"model": "openai/x", "rpm": 1}, {"id": "by-client-1"})
client.models.update("by-client-1", {"model": "openai/x", "rpm": 2}, {})
found = client.models.get(model_id="by-client-1")
client.models.delete("by-client-1")
try:
    client.models.delete("by-client-1")
except Exception as error:
    gone = type(error).__name__
print(json.dumps({"id": row["model_id"], "rpm": found["litellm_params"]["rpm"], "gone": gone}))
"""


class Trial:
    """Runs commands one after the other, and keeps which did not do what they should."""

    def __init__(self, binaries: Path, stack: Stack) -> None:
        self._binaries = binaries
        self._url, self._key = stack.url, stack.master_key
        self._environment = {
            **os.environ,
            "LITELLM_PROXY_URL": stack.url,
            "LITELLM_PROXY_API_KEY": stack.master_key,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "NO_PROXY": "127.0.0.1",
            "COLUMNS": "200",
        }
        self.failed: list[str] = []

    def models(self, *arguments: str, says: Callable[[str], bool] = bool) -> str:
        """One `litellm-proxy models …`, which must end with 0 and say what it should."""
        return self._run(["litellm-proxy", "models", *arguments], " ".join(("models", *arguments)), says)

    def client(self) -> None:
        expected = {"id": "by-client-1", "rpm": 2, "gone": "NotFoundError"}
        self._run(
            ["python", "-c", _CLIENT, self._url, self._key],
            "Python client: new, update, get, delete, delete again",
            lambda said: _json(said) == expected,
        )

    def _run(self, command: list[str], name: str, says: Callable[[str], bool]) -> str:
        done = subprocess.run(
            [str(self._binaries / command[0]), *command[1:]],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=_DEADLINE_S,
            check=False,
        )
        is_good = done.returncode == 0 and says(done.stdout)
        print(f"{'ok    ' if is_good else 'FAILED'}  {name}", flush=True)
        if not is_good:
            self.failed.append(name)
            print(done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout


def _json(text: str) -> object:
    """The JSON document in what a command said."""
    start = min((at for at in (text.find("{"), text.find("[")) if at >= 0), default=0)
    try:
        return json.loads(text[start:])
    except ValueError:
        return None


def _try_all(trial: Trial, folder: Path) -> None:
    file = folder / "import.yaml"
    file.write_text(_FILE, encoding="utf-8")
    added = _json(trial.models("add", "added", "-p", "model=openai/gpt-4o", "-p", "rpm=5", "-i", "mode=chat"))
    model_id = added["model_id"] if isinstance(added, dict) else ""
    trial.models("list", says=lambda said: "added" in said)
    trial.models("list", "--format", "json", says=lambda said: "added" in said)
    trial.models("info", "--columns", "public_model,upstream_model,id", says=lambda said: "openai/gpt-4o" in said)
    trial.models("info", "--format", "json", says=lambda said: model_id in said)
    trial.models("get", "--id", model_id, says=lambda said: '"rpm": 5' in said)
    trial.models("get", "--name", "added", says=lambda said: model_id in said)
    trial.models("update", model_id, "-p", "rpm=6", says=lambda said: '"rpm": 6' in said)
    trial.models("import", str(file), says=lambda said: "imported-1" in said or "2" in said)
    trial.models("list", says=lambda said: "imported-1" in said and "imported-2" in said)
    trial.models("delete", model_id, says=lambda said: "deleted" in said)
    trial.models("list", says=lambda said: "added" not in said)
    trial.client()


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, the embedded PostgreSQL runs as another user
        stack = Stack(folder / "data", environment={"POINTSMAN_DEFAULT_WAIT": "10"})
        try:
            trial = Trial(Path(sys.argv[1]), stack.wait_until_ready())
            _try_all(trial, folder)
        finally:
            stack.end()
    print(
        f"\n{len(trial.failed)} of LiteLLM's commands failed" if trial.failed else "\nLiteLLM's client works unchanged"
    )
    return 1 if trial.failed else 0


if __name__ == "__main__":
    sys.exit(main())
