"""Secrets are masked by name and by form, and ordinary text is left as it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeostat.engine.tracking.secrets import MASK, Redactor, is_secret

SECRET = "hunter2-correct-horse"
NAMES = [
    "PASSWORD",
    "DB_PASSWORD",
    "pgpassword",
    "AWS_SECRET_ACCESS_KEY",
    "WANDB_API_KEY",
    "OPENAI_APIKEY",
    "HF_TOKEN",
    "githubToken",
    "client-secret",
    "MY_CREDENTIALS",
    "SSH_PRIVATE_KEY",
    "SENTRY_DSN",
    "SLACK_WEBHOOK_URL",
    "session_cookie",
    "auth",
]
ORDINARY = [
    "author",
    "tokenizer",
    "keyboard",
    "monkey",
    "learning_rate",
    "passes",
    "compass",
    "pathlib",
    "assign",
]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_secrets(name: str) -> None:
    assert is_secret(name, SECRET)
    assert SECRET not in Redactor({}).text(f"{name}={SECRET}")
    assert SECRET not in Redactor({}).text(f'"{name}": "{SECRET}",')
    assert SECRET not in Redactor({}).text(f"+    {name} = '{SECRET}'")
    assert SECRET not in Redactor({}).text(f"{name}: {SECRET}")
    flag = "--" + name.lower().replace("_", "-")
    assert Redactor({}).arguments(["train.py", flag, SECRET, "--lr", "0.1"]) == [
        "train.py",
        flag,
        MASK,
        "--lr",
        "0.1",
    ]
    assert Redactor({}).arguments([f"{flag}={SECRET}"]) == [f"{flag}={MASK}"]
    assert SECRET not in str(Redactor({f"TORCH_{name}": SECRET}).variables())


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_names(name: str) -> None:
    assert not is_secret(name, "x")
    text = f"{name}=value {name}: 'value' {name} = 3"
    assert Redactor({}).text(text) == text
    assert Redactor({}).arguments([f"--{name}", "value"]) == [f"--{name}", "value"]


def test_what_counts_tokens_is_none() -> None:
    words = ["--max-tokens", "512", "--n-keys=8", "--token", "512512512", "--key", "id", "-v", "--keys"]
    kept = ["--max-tokens", "512", "--n-keys=8", "--token", MASK, "--key", MASK, "-v", "--keys"]
    assert Redactor({}).arguments(words) == kept


@pytest.mark.parametrize(
    "text",
    [
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2" * 9,
        "glpat-" + "a1B2" * 5,
        "xoxb-123456789012-abcdefghij",
        "hf_" + "aB" * 17,
        "sk-" + "proj-" + "a1B2" * 8,
        "sk_live_" + "a1B2" * 6,
        "AIza" + "a1B2" * 9,
        "pypi-" + "a1B2" * 9,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nMIIEow, cut off",
    ],
)
def test_forms_that_issuers_use(text: str) -> None:
    masked = Redactor({}).text(f"before {text} after")
    assert text not in masked
    assert masked.startswith(f"before {MASK}")
    assert Redactor({}).arguments([text, "positional"])[0] == MASK


def test_urls_and_headers() -> None:
    masked = Redactor({}).text
    assert masked("postgresql://ada:hunter22@db/x") == f"postgresql://ada:{MASK}@db/x"
    assert masked("postgresql://ada@db/x") == "postgresql://ada@db/x"
    assert masked("https://x/y?a=1&token=abcdef&b=2") == f"https://x/y?a=1&token={MASK}&b=2"
    assert "abcdefgh" not in masked("Authorization: Bearer abcdefgh.ijkl")
    assert (
        masked("see https://example.org:8080/path and 10:30:00")
        == "see https://example.org:8080/path and 10:30:00"
    )


def test_what_a_secret_variable_holds_is_masked_everywhere() -> None:
    environ = {"DB_PASSWORD": SECRET, "APP_TOKEN": SECRET + "-longer", "HOME": "/home/ada", "PIN": "12"}
    redactor = Redactor(environ)
    assert (
        redactor.text(f"tried {SECRET}-longer and {SECRET}, 12 times") == f"tried {MASK} and {MASK}, 12 times"
    )
    assert redactor.arguments(["run.py", SECRET, "/home/ada"]) == ["run.py", MASK, "/home/ada"]


def test_only_variables_that_say_how_it_runs_are_kept() -> None:
    environ = {
        "HOME": "/home/ada",
        "AWS_PROFILE": "prod",
        "CUDA_VISIBLE_DEVICES": "0,1",
        "OMP_NUM_THREADS": "4",
        "SLURM_JOB_ID": "7",
        "TORCH_AUTH": "x",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": "https://u:secretsecret@host/x",
        "RANK": "3",
    }
    assert Redactor(environ).variables() == {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "OMP_NUM_THREADS": "4",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": f"https://u:{MASK}@host/x",
        "RANK": "3",
        "SLURM_JOB_ID": "7",
        "TORCH_AUTH": MASK,
    }


@settings(deadline=None)
@given(st.text(), st.lists(st.text(), max_size=5))
def test_any_text_is_treated_the_same_twice(text: str, words: list[str]) -> None:
    redactor = Redactor({"API_KEY": "0123456789"})
    once = redactor.text(text)
    assert redactor.text(once) == once
    assert len(redactor.arguments(words)) == len(words)
    assert "0123456789" not in redactor.text(f"{text}0123456789{text}")


@pytest.mark.parametrize(
    "text", ["a" * 300_000, "a.b-" * 80_000, "a:/" * 90_000, "eyJ" * 90_000, "'=" * 150_000]
)
def test_long_lines_take_no_time(text: str) -> None:
    began = time.process_time()
    Redactor({"API_KEY": "0123456789"}).text(text)
    assert time.process_time() - began < 2


def test_the_folder_of_the_shell_is_no_secret() -> None:
    redactor = Redactor({"PWD": "/srv/project", "OLDPWD": "/srv", "DB_PWD": "/srv/hidden"})
    assert redactor.text("cd /srv/project; cat /srv/hidden") == "cd /srv/project; cat ***"
    assert Redactor({"PWD": "hunter2-correct"}).text("hunter2-correct") == "***"
