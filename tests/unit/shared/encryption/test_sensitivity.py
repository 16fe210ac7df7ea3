import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.encryption.sensitivity import is_reference, is_sensitive_name, looks_like_secret

SECRET_NAMES = """
    api_key apikey apiKey APIKey APIkey API_KEY api_key_2 key keys secret passwd pwd password db_pass passphrase token
    aws_access_key_id aws_secret_access_key aws_session_token aws_web_identity_token azure_ad_token azure_password
    client_secret clientSecret vertex_credentials google_application_credentials langfuse_secret langfuse_secret_key
    langfuse_public_key hf_token auth_token authToken accesstoken private_key jwt snowflake_jwt sas dsn sentry_dsn
    webhook webhook_url slack_webhook_url connection_string connectionString storageAccountKey pat auth auth_header
    Authorization Proxy-Authorization X-Api-Key api-key Cookie Set-Cookie X-Auth-Token X-Amz-Security-Token
    X-Amz-Signature Ocp-Apim-Subscription-Key CF-Access-Client-Secret Helicone-Auth cf-aig-authorization Private-Token
    token_per_user
"""

READABLE_NAMES = """
    model model_name api_base base_url api_version custom_llm_provider litellm_credential_name credential_name
    credential_info
    aws_region_name aws_session_name aws_profile_name aws_role_name azure_username client_id tenant_id vertex_project
    vertex_location tokenizer custom_tokenizer auth_type token_type token_url tokens max_tokens max_token
    max_completion_tokens max_output_tokens budget_tokens input_cost_per_token output_cost_per_token
    cache_read_input_token_cost cache_creation_input_token_cost_above_1hr input_cost_per_audio_token
    output_cost_per_reasoning_token input_cost_per_token_batches token_limit configurable_clientside_auth_params
    use_in_pass_through allow_client_keepalive_override merge_reasoning_content_in_choices additional_drop_params
    keyword monkey author authority OpenAI-Organization User-Agent X-Request-Id description mode tags 名前
"""

LONG = "A1b2C3d4E5f6G7h8J9k0L1m2N3p4Q5r6S7t8U9v0"

SECRET_VALUES = [
    "sk-1234",
    f"sk-{LONG}",
    f"sk-ant-api03-{LONG}",
    f"the key is sk-proj-{LONG}.",
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    f"AIza{LONG}",
    f"ghp_{LONG}",
    f"github_pat_{LONG}",
    f"glpat-{LONG}",
    "xoxb-1234567890-abcdefgh",
    "https://hooks.slack.com/services/T000/B000/XXXX",
    "https://discord.com/api/webhooks/1/abc",
    f"whsec_{LONG}",
    f"hf_{LONG}",
    f"gsk_{LONG}",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "-----BEGIN PRIVATE KEY-----\nMIIE",
    '{"private_key": "-----BEGIN RSA PRIVATE KEY-----"}',
    "Bearer abcdef",
    f'{{"Authorization": "bearer {LONG}"}}',
    "Basic dXNlcjpwYXNz",
    "https://user:pw@example.com/v1",
    "postgresql://user@host/db",
    "https://example.com/v1?api-key=abc",
    "see https://example.com/?x=1&access%5Ftoken=abc",
    "https://account.blob.core.windows.net/c?sv=2024&sig=abc",
    "https://x.azurewebsites.net/api/f?code=abc",
    "Endpoint=sb://x.example/;SharedAccessKeyName=root;SharedAccessKey=abc",
    "password=abc",
]

HARMLESS_VALUES = [
    "",
    "gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-3-5-sonnet-20241022",
    "xai/xai-grok-4-fast-reasoning-latest-2025",
    "glove-wiki-gigaword-embedding-300-dimensions",
    "task-1234567890-1234567890-1234567890",
    "sk-SK",
    "os.environ/OPENAI_API_KEY",
    "https://example.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
    "https://example.com/v1?max_tokens=5&api-key=",
    "Basic plan",
    "basic plans",
    "bearer of bad news",
    "a = b",
    "arn:aws:iam::123456789012:role/x",
    "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0",
    "us.anthropic.claude-v1:0",
]


@pytest.mark.parametrize("name", SECRET_NAMES.split())
def test_names_of_secrets_are_sensitive(name: str) -> None:
    assert is_sensitive_name(name)


@pytest.mark.parametrize("name", READABLE_NAMES.split())
def test_names_of_settings_are_not(name: str) -> None:
    assert not is_sensitive_name(name)


def test_a_name_that_is_itself_a_secret_is_sensitive() -> None:
    assert is_sensitive_name(f"sk-{LONG}")


@pytest.mark.parametrize("value", SECRET_VALUES)
def test_secrets_are_known_by_their_form(value: str) -> None:
    assert looks_like_secret(value)


@pytest.mark.parametrize("value", HARMLESS_VALUES)
def test_settings_do_not_look_like_secrets(value: str) -> None:
    assert not looks_like_secret(value)


def test_only_a_whole_reference_is_a_reference() -> None:
    assert is_reference("os.environ/OPENAI_API_KEY")
    assert not is_reference("os.environ/")
    assert not is_reference("os.environ/A B")
    assert looks_like_secret("os.environ/A?api_key=abc")


def test_ciphertext_is_not_judged_by_its_letters() -> None:
    assert not looks_like_secret(f"pm1:k1:sk-{LONG}")
    assert looks_like_secret(f"pm1:k1:sk-{LONG} sk-{LONG}")


@given(st.text())
def test_any_text_can_be_judged(text: str) -> None:
    assert is_sensitive_name(text) in {True, False}
    assert looks_like_secret(text) in {True, False}


@given(st.text(alphabet="basic +/-_=aZ09:"))
def test_any_text_that_starts_like_basic_authorization_can_be_judged(text: str) -> None:
    assert looks_like_secret(f"Basic {text}") in {True, False}


@pytest.mark.parametrize("piece", ["sk-", "eyJ", "eyJaaaaaaaa.", "://", "?a", "bearer ", "-----BEGIN ", "gh", "a", " "])
def test_a_long_text_does_not_take_long(piece: str) -> None:
    looks_like_secret(piece * 100_000)
