"""What counts as a secret: by the name that a value stands under, and by what the value looks like.

The names are those of LiteLLM's parameters, of HTTP headers and of query parameters; whatever is not known is judged by
the words that its name is made of. In doubt a name is sensitive: a hidden setting is a nuisance, a shown secret is not.
"""

import re
from base64 import urlsafe_b64decode
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from shared.encryption.keyring import is_sealed

_DESCRIBABLE: Final = frozenset(
    {
        "key",
        "keys",
        "apikey",
        "secret",
        "secrets",
        "token",
        "credential",
        "credentials",
        "creds",
        "auth",
        "oauth",
        "authentication",
    }
)
"""Words that stay harmless in names like ``credential_name``, ``auth_type`` and ``token_url``."""

_TELLING: Final = _DESCRIBABLE | frozenset(
    {
        "apikeys",
        "authorization",
        "bearer",
        "cookie",
        "cookies",
        "dsn",
        "hmac",
        "jwt",
        "otp",
        "pat",
        "passcode",
        "pem",
        "pepper",
        "private",
        "pwd",
        "salt",
        "sas",
        "signature",
        "webhook",
        "webhooks",
    }
)
_TELLING_PARTS: Final = (
    *("secret", "password", "passwd", "passphrase", "credential", "authorization"),
    *("apikey", "accesskey", "privatekey", "signingkey", "encryptionkey", "accountkey", "subscriptionkey"),
    *("authtoken", "accesstoken", "bearertoken", "sessiontoken", "connectionstring"),
)
_READABLE: Final = frozenset({"credential_info"})
_DESCRIBING: Final = frozenset(
    {
        "name",
        "alias",
        "type",
        "mode",
        "method",
        "scheme",
        "provider",
        "params",
        "url",
        "uri",
        "endpoint",
        "ttl",
        "expiry",
        "expires",
        "enabled",
        "required",
    }
)
_COUNTING: Final = frozenset(
    {
        "cost",
        "costs",
        "price",
        "count",
        "counter",
        "max",
        "min",
        "limit",
        "limits",
        "budget",
        "usage",
        "quota",
    }
)

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_QUERY_ONLY: Final = frozenset({"sig", "code"})
"""Shared access signatures and function keys of Azure; too common as words to be sensitive elsewhere."""

_REFERENCE: Final = re.compile(r"os\.environ/[A-Za-z_][A-Za-z0-9_]{0,127}")
_PARAMETER: Final = re.compile(r"(?:^|[?&;#])([\w.%~-]{1,64})=(?=[^&;\s])")
_BASIC: Final = re.compile(r"\s*basic\s+([A-Za-z0-9+/_-]+)={0,2}\s*", re.IGNORECASE)

# Every pattern starts at a boundary or at a rare literal, so that searching a long text stays linear.
_TOKENS: Final = (
    r"sk-(?=[\w-]*\d)[\w-]{20,}",  # OpenAI, Anthropic, OpenRouter, DeepSeek, Langfuse, LiteLLM
    r"(?:AKIA|ASIA)[A-Z0-9]{16}",
    r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{20,}",
    r"gh[pousr]_[A-Za-z0-9]{20,}",
    r"github_pat_\w{20,}",
    r"gl(?:pat|rt|dt|cbt|ptt|soat)-[\w-]{20,}",
    r"xox[a-z](?:\.xox[a-z])?-[\w-]{8,}",
    r"xapp-[\w-]{8,}",
    r"whsec_[A-Za-z0-9+/_-]{16,}",
    r"hf_[A-Za-z0-9]{20,}",
    r"(?:gsk|r8|fw|sk_live|sk_test|rk_live|rk_test|npm|lsv2_pt|lsv2_sk|dop_v1)_[A-Za-z0-9_]{16,}",
    r"(?:pplx|xai|nvapi|csk|jina)[-_][A-Za-z0-9_]{40,}",
    r"tvly-(?=[\w-]*\d)[\w-]{24,}",
    r"dapi[0-9a-f]{32}",
    r"hv[sbr]\.[\w-]{20,}",
    r"SG\.[\w-]{16,}\.[\w-]{16,}",
    r"AGE-SECRET-KEY-\w+",
    r"eyJ[\w-]{8,}\.[\w-]{4,}",  # JSON web tokens
    r"(?i:bearer)\s+[\w.~+/-]{20,}",
)
_SECRET: Final = re.compile(
    r"(?<![\w-])(?:" + "|".join(_TOKENS) + r")"
    r"|-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY"
    r"|://[^/?#\s\"'@]+@"
    r"|hooks\.slack\.com/(?:services|workflows|triggers)/"
    r"|discord(?:app)?\.com/api/webhooks/"
    r"|\.webhook\.office\.com/",
    re.ASCII,
)
_WHOLE_SECRET: Final = re.compile(r"\s*(?:sk-(?=[\w-]*\d)[\w-]{4,}|bearer\s+\S{6,})\s*", re.ASCII | re.IGNORECASE)


@lru_cache(maxsize=4096)
def is_sensitive_name(name: str) -> bool:
    """Whether what stands under this name is a secret: a parameter, a header, a query parameter."""
    if name in _READABLE:
        return False
    words = [word.lower() for word in _WORD.findall(name)]
    telling = {word for word in words if _tells(word)}
    if words[-1:] == ["pass"]:
        return True
    if not telling:
        return _has_telling_part("".join(words)) or looks_like_secret(name)
    if telling <= _DESCRIBABLE and words[-1] in _DESCRIBING:
        return False
    return not (telling == {"token"} and _COUNTING.intersection(words))


def looks_like_secret(value: str) -> bool:
    """Whether a value is or holds a secret, judged by its form.

    A reference to an environment variable is none, and a sealed text is none any more, whatever letters it is made of.
    """
    if is_reference(value) or is_sealed(value):
        return False
    return (
        _SECRET.search(value) is not None
        or _WHOLE_SECRET.fullmatch(value) is not None
        or ("=" in value and _has_sensitive_parameter(value))
        or _is_basic_authorization(value)
    )


def is_reference(value: str) -> bool:
    """``os.environ/NAME``, which each gateway resolves for itself."""
    return value.startswith("os.environ/") and _REFERENCE.fullmatch(value) is not None


def _tells(word: str) -> bool:
    return word in _TELLING or word.endswith("token") or _has_telling_part(word)


def _has_telling_part(letters: str) -> bool:
    return any(part in letters for part in _TELLING_PARTS)


def _has_sensitive_parameter(value: str) -> bool:
    """In the query of a URL, in a form, in a connection string."""
    names = (unquote(found[1]) for found in _PARAMETER.finditer(value))
    return any(name.lower() in _QUERY_ONLY or is_sensitive_name(name) for name in names)


def _is_basic_authorization(value: str) -> bool:
    """Told from prose that starts with "basic" by the colon between user and password."""
    found = _BASIC.fullmatch(value)
    if found is None:
        return False
    try:
        return b":" in urlsafe_b64decode(found[1].replace("+", "-").replace("/", "_") + "===")
    except ValueError:
        return False
