"""A reward server: any that answers POST {"prompts": [...], "responses": [...]} with {"scores": [...]}.

`appliance serve-reward` is one. Requests are sent one after another, so the same texts go out in the same order always.
"""

from __future__ import annotations

import ipaddress
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from appliance.config.base import NonNegative, NonNegativeFloat, Positive, PositiveFloat, Section
from appliance.errors import ConfigError, RewardUnavailable

if TYPE_CHECKING:
    import httpx
    import torch

    from appliance.ppo.types import ScoreFn

NOT_FROM_PAGE = ("token_file",)
"""It would send any file of the machine to any server."""

LONGEST_WAIT_S = 60.0
"""Waits between tries double up to this."""

SHOWN = 200
"""Characters of a server's own words that a message repeats."""


class Options(Section):
    """Where the server is, and how patient we are with it."""

    url: str = Field(description="http://host:port/score; without a path, /score is meant")
    timeout_s: PositiveFloat = Field(60.0, description="longest time for one request")
    retries: NonNegative = Field(5, description="further tries when there is no answer, or the server says 429 or 5xx")
    backoff_s: NonNegativeFloat = Field(1.0, description="wait before the first further try; doubles, up to 60 s")
    batch: Positive = Field(64, description="texts per request")
    token_file: str | None = Field(
        None, description="file with a token, sent as `Authorization: Bearer`; never in the config itself"
    )

    @field_validator("url")
    @classmethod
    def _usable(cls, value: str) -> str:
        parts = urlsplit(value)
        if not value.isprintable() or " " in value:
            raise ValueError("url holds a space or a character that cannot be seen")
        _ = parts.port  # raises ValueError for one that is no number up to 65535
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("url must begin with http:// or https:// and name a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("url holds a name or password, and configs are kept and shown. Use token_file")
        return value if parts.path.strip("/") else parts._replace(path="/score").geturl()


class _Again(Exception):
    """What went wrong may be over soon."""


def make(options: Options, device: torch.device) -> ScoreFn:
    """Scores that the server gives. Nothing is sent before the first texts are scored.

    Raises ConfigError for a token file that cannot be read; scoring raises RewardUnavailable, which ends a run with its
    checkpoint, when the tries are used up and, at once, when the answer is not one finite number for each text.
    """
    import httpx
    import torch

    headers = {"Authorization": f"Bearer {read_token(Path(options.token_file))}"} if options.token_file else {}
    own = _is_here(str(urlsplit(options.url).hostname))  # a proxy from the environment is for what lies outside
    certificates = httpx.create_ssl_context(trust_env=not own)

    def score(prompts: list[str], responses: list[str]) -> torch.Tensor:
        scores: list[float] = []
        connection = httpx.Client(
            timeout=options.timeout_s, headers=headers, trust_env=not own, verify=certificates
        )  # of this call alone: by the next one the server would have closed it
        with connection as client:
            for start in range(0, len(responses), options.batch):
                rows = slice(start, start + options.batch)
                scores += _ask(client, options, {"prompts": prompts[rows], "responses": responses[rows]})
        return torch.tensor(scores, dtype=torch.float32, device=device)

    return score


def _ask(client: httpx.Client, options: Options, texts: dict[str, list[str]]) -> list[float]:
    """The scores of one request, tried up to 1 + retries times."""
    tries = 1 + options.retries
    for number in range(1, tries + 1):
        try:
            return _scores(_answer(client, options, texts), options.url, len(texts["responses"]))
        except _Again as problem:
            last = str(problem)
        if number < tries:
            wait_s = min(LONGEST_WAIT_S, options.backoff_s * 2 ** (number - 1))
            told = f"reward server {options.url}: {last}; try {number + 1} of {tries} in {wait_s:g} s"
            print(told, file=sys.stderr, flush=True)
            time.sleep(wait_s)
    raise RewardUnavailable(
        f"the reward server {options.url} gave no scores after {tries} {'try' if tries == 1 else 'tries'}; "
        f"the last time: {last}",
        "start the server again (`appliance serve-reward`), or mend the network between; reward.retries and "
        "reward.backoff_s say how long to wait for it",
    )


def _answer(client: httpx.Client, options: Options, texts: dict[str, list[str]]) -> httpx.Response:
    """The answer with status 200. Raises _Again where another try may help, RewardUnavailable where none does."""
    import httpx

    try:
        answer = client.post(options.url, json=texts)
    except httpx.TimeoutException as error:
        raise _Again(f"no answer within {options.timeout_s:g} s ({type(error).__name__})") from None
    except httpx.TransportError as error:
        raise _Again(f"{type(error).__name__}: {error}") from None
    if answer.status_code == 200:
        return answer
    said = f"it answered {answer.status_code}: {answer.text[:SHOWN]!r}"
    if answer.status_code == 429 or answer.status_code >= 500:
        raise _Again(said)
    fixes = {
        401: "give the server's token in reward.token_file",
        403: "give the server's token in reward.token_file",
        404: "correct reward.url: it is the address that scores, such as http://host:5555/score",
        413: "lower reward.batch, or raise the server's limits (`appliance serve-reward --max-texts`)",
    }
    raise RewardUnavailable(
        f"the reward server {options.url} refused the texts; {said}",
        fixes.get(answer.status_code, 'the server must take {"prompts": [...], "responses": [...]}'),
    )


def _scores(answer: httpx.Response, url: str, count: int) -> list[float]:
    """The numbers in an answer. Raises RewardUnavailable for anything but {"scores": [`count` finite numbers]}."""
    fix = 'the server must answer {"scores": [...]} with one finite number for each text'
    try:
        content: Any = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise RewardUnavailable(f"{url} answered what is not JSON: {answer.text[:SHOWN]!r}", fix) from None
    scores = content.get("scores") if isinstance(content, dict) else None
    if not isinstance(scores, list):
        raise RewardUnavailable(f"{url} answered without a list `scores`: {answer.text[:SHOWN]!r}", fix)
    if len(scores) != count:
        raise RewardUnavailable(f"{url} was sent {count} texts and answered {len(scores)} scores", fix)
    for row, value in enumerate(scores):
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) <= sys.float_info.max:
            raise RewardUnavailable(f"{url} answered {value!r} as the score of text {row} of {count}", fix)
    return [float(value) for value in scores]


def read_token(file: Path) -> str:
    """The token in a file. Raises ConfigError when it cannot be read or is no single word."""
    fix = "write the token, and nothing else, in a file that only you may read"
    try:
        token = file.expanduser().read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {file} cannot be read: {type(error).__name__}", fix) from None
    if not token or not token.isprintable() or " " in token:
        raise ConfigError(f"the token file {file} is empty or holds more than one word", fix)
    return token


def _is_here(host: str) -> bool:
    """Whether a host is this machine by its name or number."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
