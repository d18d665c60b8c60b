'''The page: FastAPI with Gradio mounted into it. Loads no model, imports no torch; what it shows it reads from the store.

How to write a tab: one file `ui/tabs/<name>.py`, nothing else is edited. A whole one:

    """Notes: what was written down."""
    import gradio as gr
    from appliance.store import runs
    from appliance.ui.access import allowed
    from appliance.ui.context import Context

    TITLE, ORDER, ROLES = "Notes", 55, ("trainer", "admin")     # ORDER: place from the left; ROLES: who sees the tab

    def build(context: Context) -> None:                        # called inside gr.Tab, once, at start
        gr.Markdown("## Notes")
        shown = gr.Markdown("Loading.", elem_id="notes-text")
        text = gr.Textbox(label="Note", elem_id="notes-new")
        save = gr.Button("Save", variant="primary", elem_id="notes-save")

        @allowed(*ROLES, quiet=True)                            # quiet: an error leaves the page as it is
        def draw(member, run_id):
            return f"{member.name} looks at run {run_id}"

        @allowed(*ROLES)                                        # an ApplianceError becomes a toast: what, then fix
        def keep(member, run_id, words):
            runs.note(context.store, int(run_id), words)
            gr.Success("Saved.")
            return ""

        context.draw(draw, inputs=context.run, outputs=shown, every_s=3)
        context.after(save.click(keep, [context.run, text], text))

- Roles. Everything that Gradio may call is decorated with `allowed(...)` (ui/access.py) and takes the member first; a test
  fails for a function without it. `gr.Request`, `gr.SelectData` come by annotation, after the member and the inputs.
- Drawing. `context.draw(function, outputs=, inputs=, every_s=)`: runs when the tab is opened (also by a link ?tab=, or
  on load), and every `every_s` seconds while it is the open tab and the browser shows it. Return `gr.skip()` when nothing
  is new. Nothing is drawn at build time: build() runs once for all users. Draw functions go around the queue; keep them
  under 200 ms.
- What changes every few seconds and is watched by many goes around Gradio: `pulse`, see ui/pulse.py.
- `context.after(event)` draws the tab again after a button's work.
- `context.run`: the id of the run that is looked at (a number or None), the same on all tabs and in the address (?run=).
  To open a tab from a handler: `outputs=[context.tabs, context.run]` and `return context.open("compare", run_id)`.
- Handlers take the member, then their inputs by place; the last may be *values. gr.State gets a value ({}), not a
  function (dict): Gradio would call that for the page, without roles.
- Nothing lives in gr.State but ids. A value from the page is not trusted: look it up in the store, check the owner.
- Uploads: `with context.upload(member, path) as file:` gives the user's own upload as a Path, to be copied to the store
  inside the block; the temporary file is removed at its end. Give gr.File `file_types=`, and check the type again.
- Downloads: a tab's file may define `downloads(router, desk)` that adds routes below /download/<tab's name>/...; each has
  `member: Member = Depends(require("trainer", "admin"))` and returns `attachment(...)` of ui/downloads.py. Link to them by
  `gr.Button("Download", link=context.url("download/notes/all.csv"))` or in Markdown. gr.File and gr.DownloadButton
  outputs do not work here: Gradio's file route is closed.
- Words from people and models only through Markdown, Textbox or Chatbot; gr.HTML only with html.escape around every value.
- Toasts: `gr.Success("Saved.")`, `gr.Info(...)`, `gr.Warning(...)`; errors: raise ApplianceError(what, fix).
- Each widget has an elem_id `<tab>-<what>`. A tab has one `## heading`, and its text beside its widgets.
- Double clicks: events have trigger_mode "once" by themselves; what must not happen twice gets a key (store/runs.py).
- The tab `vote` is also the whole of the page /vote/, where `context.alone` is True and a rater is signed in.
- Tests: tests/ui/conftest.py starts a real server (`site`) with an admin, a trainer and a rater, and a browser (`browser_page`).
'''

import os

# Before anything imports Gradio: it reads these when it is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_RUN_HISTORY"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
