"""Whether models can be fetched from the hub, or need not be."""

import re
import socket
import urllib.error
import urllib.request
from typing import Any

from appliance.preflight.check import Check
from appliance.preflight.checks.weights import hub_ids, offline_by, probe_staged, stage
from appliance.preflight.host import Host
from appliance.preflight.need import Need
from appliance.preflight.verdict import Verdict, fail, passed, warn

HUB = "https://huggingface.co"
ASKING_S = 3.0


def probe_hub(host: Host) -> dict[str, Any]:
    """Whether the hub answers (`problem` None), through the proxy of the environment; not asked where offline is set."""
    hub = (host.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    offline = offline_by(host)
    proxy = host.environ.get("HTTPS_PROXY") or host.environ.get("https_proxy")
    answer = None if offline else host.child("checks.hub:ask", hub, timeout_s=ASKING_S + 0.5)
    problem = answer["value"] if answer else None
    if answer and answer["problem"]:  # the child: a name look-up that hangs cannot be stopped in any other way
        problem = f"no answer in {ASKING_S:g} s" if "no answer" in answer["problem"] else answer["problem"]
    return {
        "hub": hub,
        "offline": offline,
        "proxy": re.sub(r"//[^/@]*@", "//", proxy) if proxy else None,  # never its password
        "problem": problem,
        "container": host.in_container(),
        "staged": [name for name, found in probe_staged(host)["models"].items() if not found["problems"]],
    }


def ask(hub: str) -> str | None:
    """None when the hub answers a HEAD request, else what went wrong. Runs in a child: name look-ups cannot be stopped."""
    try:
        with urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=ASKING_S):
            return None
    except urllib.error.HTTPError as error:
        return f"it answered {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return reason(error.reason)
    except (OSError, ValueError) as error:
        return reason(error)


def reason(error: object) -> str:
    """An error of the network without its number."""
    if isinstance(error, socket.gaierror):
        return "its name cannot be looked up (DNS)"
    if isinstance(error, TimeoutError):
        return f"no answer in {ASKING_S:g} s"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


PROBLEMS: tuple[tuple[str, str, str], ...] = (
    (
        "certificate",
        "The connection is opened by something on the way (a filter with a certificate of its own) that is not trusted here.",
        "sudo cp SITE-CA.crt /usr/local/share/ca-certificates/ && sudo update-ca-certificates\n"
        "export SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt REQUESTS_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt",
    ),
    (
        "407",
        "The proxy asks for a name and password.",
        "export HTTPS_PROXY=http://USER:PASSWORD@proxy.example:3128   # the same in the compose project's .env",
    ),
)
"""Word in the problem -> why, fix; anything else gets the general lines."""


def judge_hub(fact: dict[str, Any], need: Need) -> Verdict:
    """The hub answers, or it is not needed: offline is set, or the recipe's models are folders."""
    expected = "it answers, or APPLIANCE_OFFLINE=1 and staged models"
    if fact["offline"]:
        return passed(f"{fact['offline']} is set, the hub is not asked")
    if fact["problem"] is None:
        return passed(f"{fact['hub']} answers", expected)
    wanted = hub_ids(need)
    if need.models and not wanted:
        return passed("the hub does not answer; the recipe's models are folders")
    found = f"{fact['hub']}: {fact['problem']}"
    if (wanted and set(wanted) <= set(fact["staged"])) or (not need.models and fact["staged"]):
        return warn(
            found,
            expected,
            why="The models are staged, but every start first waits for a hub that does not answer.",
            fix="export APPLIANCE_OFFLINE=1   # or the same line in the compose project's .env",
        )
    lacking = [name for name in wanted if name not in fact["staged"]]
    via = f" through the proxy {fact['proxy']}" if fact["proxy"] else ""
    general = (
        f"No model can be fetched{via}, and {'not all of this recipe are' if wanted else 'none is'} staged here.",
        f"curl -sSI {fact['hub']} | head -1   # by hand\n"
        "export HTTPS_PROXY=http://proxy.example:3128   # where the site has a proxy\n"
        f"# no way out to the internet? Then stage the models,\n{stage(*lacking, container=fact['container'])}",
    )
    why, fix = next(((why, fix) for word, why, fix in PROBLEMS if word in fact["problem"].lower()), general)
    return fail(found, expected, why=why, fix=fix)


CHECKS = (
    Check(
        id="net.hf_or_offline",
        title="Hub, or offline by choice",
        section="Network and weights",
        scope="both",
        probe=probe_hub,
        judge=judge_hub,
        blocking=True,
        explain="""Asks the model hub for an answer, through HTTPS_PROXY where it is set, for at most 3 seconds. With
        APPLIANCE_OFFLINE=1 nothing is asked. A machine without internet is fine as long as the models are staged and that
        variable is set; without it every start waits for the network first.""",
    ),
)
