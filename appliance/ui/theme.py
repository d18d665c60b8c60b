"""How the page looks: our colours (WCAG AA in light and dark), the system's fonts, no file from anywhere else."""

from __future__ import annotations

import gradio as gr

PETROL = gr.themes.Color(
    "#eef7f8", "#d3eaed", "#a9d5db", "#76b9c3", "#4399a7", "#22798a",
    "#12616f", "#0e4f5c", "#0c414c", "#0a3640", "#05222a", name="petrol",
)  # fmt: skip
SLATE = gr.themes.Color(
    "#f7f8fa", "#eef0f3", "#dde1e7", "#c2c9d2", "#8e99a8", "#5f6b7a",
    "#4a5563", "#394350", "#252d38", "#181e27", "#0f141b", name="slate",
)  # fmt: skip

FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def theme() -> gr.themes.Base:
    """The theme of both Gradio pages."""
    made = gr.themes.Base(
        primary_hue=PETROL,
        secondary_hue=PETROL,
        neutral_hue=SLATE,
        text_size=gr.themes.sizes.text_md,
        radius_size=gr.themes.sizes.radius_md,
        font=FONT,
        font_mono=MONO,
    )
    return made.set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        background_fill_primary="white",
        background_fill_primary_dark="*neutral_900",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_800",
        block_title_text_color_dark="*neutral_100",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_500",
        input_placeholder_color_dark="*neutral_400",
        input_background_fill="white",
        input_background_fill_dark="*neutral_800",
        input_border_color="*neutral_400",
        input_border_color_dark="*neutral_500",
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        button_secondary_background_fill="*neutral_200",
        button_secondary_background_fill_hover="*neutral_300",
        button_secondary_background_fill_dark="*neutral_700",
        button_secondary_background_fill_hover_dark="*neutral_600",
        button_secondary_text_color="*neutral_900",
        button_secondary_text_color_dark="white",
        button_cancel_background_fill="#b3261e",
        button_cancel_background_fill_hover="#8f1d17",
        button_cancel_background_fill_dark="#b3261e",
        button_cancel_background_fill_hover_dark="#8f1d17",
        button_cancel_text_color="white",
        button_cancel_text_color_dark="white",
        link_text_color="*primary_600",
        link_text_color_dark="*primary_300",
        link_text_color_hover="*primary_700",
        link_text_color_hover_dark="*primary_200",
        link_text_color_visited="*primary_600",
        link_text_color_visited_dark="*primary_300",
    )


CSS = """
.gradio-container { max-width: 1200px !important; width: 100%; margin-inline: auto !important; }
#top { align-items: center; flex-wrap: wrap; gap: 0.5rem 1rem; }
#heading h1 { margin: 0; font-size: 1.5rem; }
#who nav { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; justify-content: flex-end; align-items: center; }
#who form { margin: 0; }
#who a, #who button { color: var(--link-text-color); text-decoration: underline; background: none; border: 0; padding: 0.25rem 0;
  font: inherit; cursor: pointer; }
#strip-row { position: sticky; top: 0; z-index: 20; align-items: center; flex-wrap: wrap; gap: 0.5rem;
  background: var(--background-fill-primary); border: 1px solid var(--border-color-primary); border-radius: var(--radius-lg);
  padding: 0.4rem 0.75rem; }
#strip-row > * { flex: 0 0 auto; }
#strip-row > #strip { flex: 1 1 20rem; min-width: 0; background: none; border: 0; }
.strip { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; align-items: center; font-variant-numeric: tabular-nums; }
.strip .run { overflow-wrap: anywhere; }
.strip progress { width: 8rem; }
progress { appearance: none; height: 0.75rem; border: 0; border-radius: 0.4rem; overflow: hidden;
  background: var(--border-color-primary); }
progress::-webkit-progress-bar { background: var(--border-color-primary); }
progress::-webkit-progress-value { background: var(--color-accent); }
progress::-moz-progress-bar { background: var(--color-accent); }
.strip .warn, .strip-failed .state, .strip-stalled .state, .strip-worker-missing .state { color: var(--bad); font-weight: 600; }
.gradio-container { --bad: #a01b14; }
.dark .gradio-container, .gradio-container.dark { --bad: #ff9b94; }
.dark [role="tab"][aria-selected="true"] { color: var(--primary-300); }
#no-server { display: none; position: fixed; inset: auto 0 0 0; z-index: 1000; padding: 0.75rem; text-align: center;
  background: #7a1a14; color: #fff; }
.no-server #no-server { display: block; }
:focus-visible { outline: 3px solid var(--color-accent) !important; outline-offset: 2px; }
@media (max-width: 640px) {
  .gradio-container .main.app { padding: 0.75rem !important; }
  #top { flex-direction: column; align-items: stretch; }
  #who nav { justify-content: flex-start; }
  #strip-row { position: static; }
  #vote-bar { position: fixed; inset: auto 0 0 0; z-index: 100; display: grid; grid-template-columns: 1fr 1fr; gap: 0.4rem;
    padding: 0.5rem 0.75rem; background: var(--body-background-fill); border-top: 1px solid var(--border-color-primary); }
  .gradio-container:has(#vote-bar) { padding-bottom: 10rem; }
  #vote-bar > * { min-width: 0 !important; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
"""

FORMS = """
:root { color-scheme: light dark; --text: #181e27; --back: #f7f8fa; --card: #fff; --line: #5f6b7a; --main: #12616f;
  --bad: #a01b14; }
@media (prefers-color-scheme: dark) {
  :root { --text: #eef0f3; --back: #0f141b; --card: #181e27; --line: #8e99a8; --main: #12616f; --bad: #ff9b94; }
}
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 24rem; margin: 8vh auto; padding: 1.5rem; background: var(--card); border-radius: 0.75rem; }
main.wide { max-width: 44rem; }
h1 { margin: 0 0 1rem; font-size: 1.5rem; }
label { display: block; margin: 0.75rem 0 0.25rem; }
input { box-sizing: border-box; width: 100%; padding: 0.6rem; font: inherit; color: inherit; background: var(--back);
  border: 1px solid var(--line); border-radius: 0.4rem; }
button { margin-top: 1.25rem; padding: 0.6rem 1.25rem; font: inherit; color: #fff; background: var(--main); border: 0;
  border-radius: 0.4rem; cursor: pointer; }
a { color: inherit; }
code { overflow-wrap: anywhere; }
:focus-visible { outline: 3px solid #4399a7; outline-offset: 2px; }
[role=alert] { color: var(--bad); font-weight: 600; }
"""
"""For the pages without a program: sign in, join, account, help."""

HEAD = """
<meta name="referrer" content="same-origin">
"""
