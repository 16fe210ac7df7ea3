"""Where a model may send its calls, and its key with them, if somebody who is no admin says so."""

from collections.abc import Mapping
from typing import Any, Final

from shared.domain.problems import DestinationRefused
from shared.outbox.addresses import Allowlist, RefusedTarget, check_url

# The parameters that are URLs; the provider is not one, and a changed one needs the secret anew anyway.
URLS: Final = ("api_base", "base_url", "api_host", "aws_bedrock_runtime_endpoint", "aws_sts_endpoint")


def check_model_targets(params: Mapping[str, Any], allow: Allowlist) -> None:
    """The same filter as for webhooks. References to the gateway's environment are refused too: they may hold anything.

    Raises:
        DestinationRefused: names the first parameter that is refused.
    """
    for name in URLS:
        value = params.get(name)
        if value is None or value == "":
            continue
        try:
            check_url(str(value), allow)
        except RefusedTarget as refused:
            raise DestinationRefused(f"litellm_params.{name}", refused.reason) from None
