"""Cases of the hub."""


def hub(case, status, says="", problem=None, offline=None, staged=(), proxy=None, container=False, **need):
    fact = {
        "hub": "https://hub.example",
        "offline": offline,
        "proxy": proxy,
        "problem": problem,
        "staged": list(staged),
        "container": container,
    }
    return {"id": "net.hf_or_offline", "case": case, "status": status, "fact": fact, "says": says, "need": need}


WANTED = {"models": ("owner/small",)}
DEAD = "no answer"

CASES = [
    hub("answers", "pass", "hub.example answers"),
    hub("offline", "pass", "HF_HUB_OFFLINE is set", offline="HF_HUB_OFFLINE"),
    hub("folders", "pass", problem=DEAD, models=("/srv/models/a",)),
    hub("dead", "fail", "Then stage the models", problem=DEAD),
    hub("dead in a container", "fail", "docker compose run --rm -v", problem=DEAD, container=True),
    hub("dead, wanted is not here", "fail", "not all of this recipe", problem=DEAD, staged=("o/other",), **WANTED),
    hub("dead, one of two is here", "fail", problem=DEAD, staged=("o/a",), models=("o/a", "o/b")),
    hub("dead, wanted is here", "warn", "APPLIANCE_OFFLINE=1", problem=DEAD, staged=("owner/small",), **WANTED),
    hub("dead, something is here", "warn", problem=DEAD, staged=("o/other",)),
    hub("dead proxy", "fail", "through the proxy http://p:3128", problem="refused", proxy="http://p:3128"),
    hub("a filter's certificate", "fail", "update-ca-certificates", problem="CERTIFICATE_VERIFY_FAILED: self-signed"),
    hub("proxy wants a password", "fail", "USER:PASSWORD", problem="Tunnel connection failed: 407 Proxy Authentication"),
    {"id": "net.hf_or_offline", "case": "a port that is shut", "status": "fail", "says": "refused",
     "environ": {"HF_ENDPOINT": "http://127.0.0.1:9"}},
    {"id": "net.hf_or_offline", "case": "not asked", "status": "pass", "says": "APPLIANCE_OFFLINE",
     "environ": {"HF_ENDPOINT": "http://127.0.0.1:9", "APPLIANCE_OFFLINE": "1"}},
]  # fmt: skip
