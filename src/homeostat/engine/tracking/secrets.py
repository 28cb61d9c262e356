"""Keeping secrets out of what is captured without being asked: arguments, variables, differences, output.

By what a thing is called and by the forms that issuers give to their tokens; nothing is guessed from how random a text
looks, so the same text is always treated alike. What a variable with a secret's name holds is a secret wherever it
turns up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

MASK: Final = "***"

# Anywhere in a name, without what divides its words.
_INSIDE: Final = re.compile(
    r"password|passwd|passphrase|secret|apikey|accesskey|privatekey|signingkey|encryptionkey|credential"
    r"|authorization|bearer|cookie|webhook|connectionstring|connstr|token$"
)
# As a word of a name.
_WORDS: Final = frozenset("auth dsn jwt key keys pass pat pin pwd sas sig signature token tokens".split())  # noqa: SIM905
_DIVIDED: Final = re.compile(r"[^A-Za-z0-9]+|(?<=[a-z0-9])(?=[A-Z])")
_NUMBER: Final = re.compile(r"[\d.,eE+-]*|true|false|none|null", re.IGNORECASE)
_COUNTED: Final = frozenset({"tokens", "keys", "key"})  # as in --max-tokens 512
_FOLDERS: Final = frozenset({"PWD", "OLDPWD"})  # the shell's, although a pwd is a password elsewhere
_SHORTEST: Final = 6  # what is shorter would be found in ordinary words

_FORMS: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[opsru]_[A-Za-z0-9]{20,}|\bgithub_pat_\w{20,}|\bglpat-[\w-]{16,}"
    r"|\bxox[abeoprs]-[\w-]{10,}|\bhf_[A-Za-z0-9]{16,}|\bsk-[\w-]{16,}|\bAIza[\w-]{30,}"
    r"|\b[rsp]k_(?:live|test)_\w{10,}|\bpypi-[\w-]{16,}|\bnpm_[A-Za-z0-9]{20,}|\bdapi[0-9a-f]{32}\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*",
    re.DOTALL,
)
_IN_URL: Final = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}://)(?P<user>[^\s/@:\"']{0,200}):(?P<secret>[^\s/@\"']{1,500})@"
)
_BEARER: Final = re.compile(r"\b(?P<kind>bearer|basic)\s+(?P<secret>[\w.~+/=-]{6,})", re.IGNORECASE)
# NAME=value, "name": "value", name = "value", name: value
_ASSIGNED: Final = re.compile(
    r"(?<![\w.-])(?P<name>-{0,2}[A-Za-z][\w.-]{0,100})(?P<is>[\"']?(?:=|\s*:=?\s*|\s+=\s*(?=[\"'])|\s*=\s*(?=[\"'])))"
    r"(?P<value>\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;&)]+)"
)
_VARIABLES: Final = re.compile(
    r"(?:CONDA|CUDA|JAX|KMP|MKL|NCCL|NVIDIA|OMP|OPENBLAS|PBS|POLARS|PYTORCH|ROCR|SLURM|TORCH|XLA)_\w+"
    r"|TF_(?:CPP|CUDNN|DETERMINISTIC|ENABLE|FORCE|GPU|NUM|XLA)_\w+"
    r"|PYTHON\w+|(?:LOCAL_|NODE_)?RANK|WORLD_SIZE|MASTER_(?:ADDR|PORT)|VIRTUAL_ENV|LANG|LC_ALL|TZ"
)


def is_secret(name: str, value: str = "") -> bool:
    """Whether what is called ``name`` is to be kept out; a number may be, where it counts something."""
    words = [word.lower() for word in _DIVIDED.split(name) if word]
    if _INSIDE.search("".join(words)) is not None:
        return True
    named = _WORDS.intersection(words)
    return bool(named) and not (named <= _COUNTED and value and _NUMBER.fullmatch(value))


class Redactor:
    """Masks secrets.

    Args:
        environ: The environment, whose secrets are masked wherever they turn up.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        held = {
            value
            for name, value in environ.items()
            if is_secret(name, value)
            and len(value) >= _SHORTEST
            and not (name in _FOLDERS and value.startswith("/"))
        }
        longest_first = sorted(held, key=len, reverse=True)
        self._held = re.compile("|".join(map(re.escape, longest_first))) if held else None

    def text(self, text: str) -> str:
        """A text of any kind, secrets masked."""
        if self._held is not None:
            text = self._held.sub(MASK, text)
        text = _FORMS.sub(MASK, text)
        text = _IN_URL.sub(rf"\g<scheme>\g<user>:{MASK}@", text)
        text = _BEARER.sub(rf"\g<kind> {MASK}", text)
        return _ASSIGNED.sub(_masked, text)

    def arguments(self, arguments: Sequence[str]) -> list[str]:
        """A command's words, secrets masked: also the word after ``--password``."""
        out: list[str] = []
        expected = ""
        for word in arguments:
            flag, equals, value = word.partition("=")
            if expected and not word.startswith("--") and is_secret(expected, word):
                out.append(MASK)
                expected = ""
            elif word.startswith("-") and equals and is_secret(flag, value):
                out.append(f"{flag}={MASK}")
                expected = ""
            else:
                out.append(self.text(word))
                expected = word if word.startswith("-") and not equals else ""
        return out

    def variables(self) -> dict[str, str]:
        """The variables that say how a training runs, secrets masked. Of others not even the name is kept."""
        return {
            name: MASK if is_secret(name, value) else self.text(value)
            for name, value in sorted(self._environ.items())
            if _VARIABLES.fullmatch(name)
        }


def _masked(found: re.Match[str]) -> str:
    name, value = found["name"], found["value"]
    quote = value[0] if value[0] in "\"'" else ""
    if value == MASK or not is_secret(name, value.strip("\"'")):
        return found[0]
    return f"{name}{found['is']}{quote}{MASK}{quote}"
