"""Which reward sources a person may choose who has the page and nothing else of the machine."""

from typing import Any

from appliance import parts
from appliance.errors import ConfigError


def page_may_use(options: dict[str, Any]) -> None:
    """Raises ConfigError when a reward section, or a source inside a blend, is only for the command line.

    A source's module says so: `FROM_PAGE = False` for the whole source, `NOT_FROM_PAGE` for some of its options (those
    that name a file of the machine). To be called on every config that comes from the page, whatever the form offers.
    """
    name = str(options.get("source"))
    module = vars(parts.load("rewards", name))
    if not module.get("FROM_PAGE", True):
        raise ConfigError(
            f"the reward source {name!r} may not be chosen from the page: it runs code from a file",
            f"use another source, or start the run with `appliance train ppo` on the machine; {name!r} is for its admins",
        )
    for key in module.get("NOT_FROM_PAGE", ()):
        if options.get(key) is not None:
            raise ConfigError(
                f"the option {key!r} of the reward source {name!r} may not be set from the page",
                "leave it out, or start the run with `appliance train ppo` on the machine",
            )
    for inner in options.get("sources") or ():
        page_may_use(inner)
