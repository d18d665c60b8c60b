"""What an open page asks for every three seconds: one small route for the status strip and the open tab.

A drawing by Gradio costs ten times as much, and fifty people may be looking while two processors train. So the page's own
program asks here, writes the strip's and the tab's line into the page itself, and lets Gradio draw only what changed:
a tab's file may define

    def pulse(desk, run_id, *, closer) -> tuple[str, str]      # HTML with data-state, and a mark of everything else

and have an HTML widget `<tab>-progress` and a hidden button `<tab>-draw`, which is pressed whenever the mark is another.
`closer`: what the tab shows only on request (`<tab>-log`) is open.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends

from appliance import parts
from appliance.store.users import Member
from appliance.ui import strip
from appliance.ui.access import require
from appliance.ui.desk import Desk

SPREAD_MS = 4000
"""New numbers of a run are drawn within so long by all who watch it; a new state at once."""


def router(desk: Desk) -> APIRouter:
    """The route."""
    made = APIRouter()
    modules = {name: parts.load("ui/tabs", name) for name in parts.names("ui/tabs")}
    looks: dict[str, tuple[Callable[..., tuple[str, str]], tuple[str, ...]]] = {
        name: (module.pulse, module.ROLES) for name, module in modules.items() if hasattr(module, "pulse")
    }

    @made.get("/pulse")
    def pulse(
        tab: str = "",
        run: str = "",
        closer: bool = False,
        member: Member = Depends(require(*strip.TRAINERS)),  # noqa: B008 - FastAPI's way
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"strip": strip.view(strip.now(desk))}
        look, roles = looks.get(tab, (None, ()))
        if look is not None and member.role in roles:
            run_id = int(run) if run.isdecimal() and len(run) < 10 else None
            found["progress"], found["mark"] = look(desk, run_id, closer=closer)
        return found

    return made


SCRIPT = """
<script>
(() => {
  const below = window.location.pathname.includes("/vote") ? "../" : "./";
  const plain = window.fetch.bind(window);
  const signedOut = (answer) => {
    const here = encodeURIComponent(window.location.pathname + window.location.search);
    if (answer.status === 401) window.location.assign(below + "login?next=" + here);
    return answer;
  };
  window.fetch = async (...asked) => signedOut(await plain(...asked));
  const banner = () => {
    let found = document.getElementById("no-server");
    if (!found) {
      found = document.createElement("div");
      found.id = "no-server";
      found.setAttribute("role", "alert");
      document.body.appendChild(found);
    }
    return found;
  };
  const put = (place, html) => {
    const shown = document.querySelector("#" + place + " [data-state]");
    const made = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    if (!shown || !made) return false;
    const changed = shown.dataset.state !== made.dataset.state;
    if (shown.outerHTML !== made.outerHTML) {
      shown.className = made.className;
      shown.dataset.state = made.dataset.state;
      shown.replaceChildren(...made.childNodes);
    }
    return changed;
  };
  const press = (name) => document.getElementById(name)?.click();
  const drawn = {};
  const look = async () => {
    const open = document.querySelector('#tabs [role="tablist"] [aria-selected="true"]');
    const tab = open?.id?.match(/^tab-(.+)-button$/)?.[1] ?? "";
    const run = document.querySelector("#page-run input")?.value ?? "";
    const closer = document.querySelector("#" + (tab || "no") + "-log")?.offsetParent ? "&closer=1" : "";
    const asked = below + "pulse?tab=" + tab + "&run=" + encodeURIComponent(run) + closer;
    const answer = signedOut(await plain(asked, { cache: "no-store", signal: AbortSignal.timeout(15000) }));
    if (!answer.ok) return;
    const told = await answer.json();
    if (put("strip", told.strip)) press("strip-draw");
    if (told.mark === undefined) return;
    const urgent = put(tab + "-progress", told.progress) || drawn[tab] === undefined;
    if (drawn[tab] === told.mark) return;
    drawn[tab] = told.mark;
    setTimeout(() => press(tab + "-draw"), urgent ? 0 : Math.random() * SPREAD_MS);  // not all who watch at one moment
  };
  let busy = false;
  setInterval(async () => {
    if (busy || document.visibilityState !== "visible") return;
    busy = true;
    try {
      if (document.getElementById("strip")) await look();
      else await plain(below + "healthz", { cache: "no-store", signal: AbortSignal.timeout(15000) });
      document.documentElement.classList.remove("no-server");
    } catch {
      banner().textContent = "The server does not answer. Trying again every few seconds. Training goes on without this page.";
      document.documentElement.classList.add("no-server");
    }
    busy = false;
  }, 3000);
})();
</script>
""".replace("SPREAD_MS", str(SPREAD_MS))
"""Asks, and says when the server is gone. Signed out elsewhere: to the sign-in page."""
