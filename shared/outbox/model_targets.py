"""Which parameters of a model are addresses, to which its calls go, and its key with them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

# The parameters that are URLs; the provider is not one, and a changed one needs the secret anew anyway.
URLS: Final = ("api_base", "base_url", "api_host", "aws_bedrock_runtime_endpoint", "aws_sts_endpoint")


def targets_of(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names of those that are set, and where they lead."""
    return ((name, str(params[name])) for name in URLS if params.get(name) not in (None, ""))
