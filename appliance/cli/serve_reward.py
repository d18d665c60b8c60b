"""`appliance serve-reward`: a reward model that answers over HTTP."""

from pathlib import Path

import click


@click.command("serve-reward")
@click.argument("model", required=False)
@click.option("--config", type=click.Path(path_type=Path), help="PPO config, or YAML with only `reward:`, to serve.")
@click.option(
    "--run", "run_dir", type=click.Path(path_type=Path), help="PPO run whose reward, or blend's scales, to use."
)
@click.option("--port", type=click.IntRange(0, 65535), default=5555, show_default=True, help="0: any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: reachable from other machines.")
@click.option("--batch", type=click.IntRange(min=1), default=64, show_default=True, help="Texts scored at a time.")
@click.option("--max-texts", type=click.IntRange(min=1), default=1024, show_default=True, help="Texts per request.")
@click.option(
    "--max-characters", type=click.IntRange(min=1), default=100_000, show_default=True, help="Of a prompt + response."
)
@click.option("--max-mib", type=click.IntRange(min=1), default=32, show_default=True, help="Size of a request.")
@click.option("--token-file", type=click.Path(path_type=Path), help="File with a token that requests must bring.")
def serve_reward(
    model: str | None,
    config: Path | None,
    run_dir: Path | None,
    port: int,
    host: str,
    batch: int,
    max_texts: int,
    max_characters: int,
    max_mib: int,
    token_file: Path | None,
) -> None:
    """Serve MODEL, a run of `appliance train reward` or its model's folder, to the reward source `http`.

    POST /score {"prompts": [...], "responses": [...]} answers {"scores": [...]}; /healthz and /metrics are for monitoring.
    """
    if (model is None) == (config is None and run_dir is None):
        raise click.UsageError("Give MODEL, or --config, or --run: what is to be served?")
    from appliance.rewards.http import read_token
    from appliance.serving.reward import Limits, bound, make_app, serve, told
    from appliance.stages.judging import judge, judge_of_model

    token = None if token_file is None else read_token(token_file)
    with bound(host, port) as place:
        chosen = judge(config, run_dir) if model is None else judge_of_model(model)
        name = model or chosen.section["source"]
        limits = Limits(texts=max_texts, characters=max_characters, body_mib=max_mib, batch=batch)
        app = make_app(chosen.source, name=name, limits=limits, token=token, notice=told)
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{place.getsockname()[1]}/score"
        if token is None and host not in ("127.0.0.1", "::1", "localhost"):
            told("anyone who can reach this port may use the model: --token-file asks for a token")
        serve(app, place, ready=lambda: told(f"reward {name}: listening on {address}"))
    told("stopped")
