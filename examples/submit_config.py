"""Submits every deployment of a LiteLLM config.yaml to Pointsman, and tells what became of each.

    POINTSMAN_MASTER_KEY=sk-… python submit_config.py config.yaml [--url http://127.0.0.1:4000]

Needs httpx and pyyaml. Run it as often as you like: what was accepted before is recognised and not added again.
"""

import argparse
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml


def main() -> int:
    options = read_options()
    entries: list[dict[str, Any]] = yaml.safe_load(options.config.read_text(encoding="utf-8"))["model_list"]
    headers = {"Authorization": f"Bearer {options.key or options.key_file.read_text(encoding='utf-8').strip()}"}
    try:
        with httpx.Client(base_url=options.url, headers=headers, timeout=60) as http:
            answers = [submit(http, entry, key) for entry, key in with_keys(entries)]
            problems = [follow(http, answer) for answer in with_progress(answers)]
    except httpx.HTTPError as error:
        print(f"{error}\nWhat was accepted stays accepted: run this again to go on.", file=sys.stderr)
        return 1
    report(entries, answers, problems)
    return 1 if any(problems) else 0


def with_keys(entries: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Idempotency keys that are the same in every run. Two equal entries are two deployments, so they are counted."""
    seen: Counter[str] = Counter()
    for entry in entries:
        digest = hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
        seen[digest] += 1
        yield entry, f"config-{digest}-{seen[digest]}"


def submit(http: httpx.Client, entry: dict[str, Any], idempotency_key: str) -> httpx.Response:
    """Answered 202 at once, with a task. From then on it is Pointsman's, whatever happens to us."""
    headers = {"Idempotency-Key": idempotency_key, "Prefer": "respond-async"}
    return http.post("/model/new", json=entry, headers=headers)


def follow(http: httpx.Client, answer: httpx.Response) -> str | None:
    """Wait until the task has ended. None if it succeeded, or else why it did not."""
    if answer.status_code != 202:
        return why_refused(answer)
    while True:
        task = http.get(answer.headers["Location"], params={"wait": 30}).raise_for_status().json()
        if task["status"] == "succeeded":
            return None
        if task["finished_at"]:
            return task["error"]["detail"] if task["error"] else task["status"]


def why_refused(answer: httpx.Response) -> str:
    try:
        return f"{answer.status_code} {answer.json()['detail']}"
    except (ValueError, KeyError):
        return f"{answer.status_code} {answer.reason_phrase}"


def with_progress(answers: list[httpx.Response]) -> Iterator[httpx.Response]:
    for number, answer in enumerate(answers, start=1):
        yield answer
        if sys.stderr.isatty():
            print(f"\r{number} of {len(answers)}", end="\n" if number == len(answers) else "", file=sys.stderr)


def report(entries: list[dict[str, Any]], answers: list[httpx.Response], problems: list[str | None]) -> None:
    accepted = sum(answer.status_code == 202 for answer in answers)
    recognised = sum("Idempotency-Replayed" in answer.headers for answer in answers)
    failed = {number: problem for number, problem in enumerate(problems) if problem}
    print(f"submitted   {len(entries):>4}")
    print(f"accepted    {accepted - recognised:>4}")
    print(f"recognised  {recognised:>4}")
    print(f"succeeded   {len(entries) - len(failed):>4}")
    print(f"failed      {len(failed):>4}")
    for number, problem in failed.items():
        print(f"  {entries[number]['model_name']}: {problem}")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Submit every deployment of a LiteLLM config.yaml to Pointsman.")
    parser.add_argument("config", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:4000")
    parser.add_argument("--key", default=os.environ.get("POINTSMAN_MASTER_KEY"), help="default: POINTSMAN_MASTER_KEY")
    parser.add_argument("--key-file", type=Path, help="a file that holds the key, such as .pointsman/master_key")
    options = parser.parse_args()
    if not (options.key or options.key_file):
        parser.error("no key: set POINTSMAN_MASTER_KEY, or give --key or --key-file")
    return options


if __name__ == "__main__":
    sys.exit(main())
