"""`appliance generate`: what a model writes."""

import click


@click.command()
@click.argument("model")
@click.option("--prompt", required=True, help="The text to continue.")
@click.option("--samples", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many answers.")
@click.option("--max-tokens", type=click.IntRange(1, 4096), help="Length limit. Default: the run's, or 64.")
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="Default: the run's, or 1.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="The same seed, the same answers."
)
def generate(
    model: str, prompt: str, samples: int, max_tokens: int | None, temperature: float | None, seed: int
) -> None:
    """Continue a text with MODEL (a T5 answers it): a run folder, a model folder or a hub id."""
    from appliance.stages.generation import generate as write

    for text in write(model, prompt, samples=samples, max_tokens=max_tokens, temperature=temperature, seed=seed):
        click.echo(text)
