"""`appliance serve`: the page, in the foreground."""

import click

from appliance import settings
from appliance.errors import ConfigError


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
@click.option("--root-path", default="", help="Path below which a reverse proxy publishes the page, such as /rlhf.")
@click.option(
    "--proxy",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESSES",
    help="Proxies whose X-Forwarded-For and -Proto are believed, with commas between them.",
)
@click.option(
    "--invite", type=click.Choice(("admin", "trainer", "rater")), help="Print a link for a new account, and end."
)
def serve(host: str, port: int, root_path: str, proxy: str, invite: str | None) -> None:
    """Serve the page until Ctrl-C.

    The first start prints a link with which the first admin makes an account, unless APPLIANCE_ADMIN_PASSWORD_FILE names a
    file with a password for the user `admin`. Training needs `appliance worker` beside it.
    """
    from appliance.ui import server

    if root_path and not root_path.startswith("/"):
        raise ConfigError(f"--root-path is {root_path!r}", "begin it with a slash, such as /rlhf")
    where = server.address(host, port, root_path)
    chosen = settings.read()
    if invite:
        click.echo(
            f"{where}/join?token={server.invitation(chosen, invite)}\nThis link makes one account ({invite}) within 7 days."
        )
        return
    server.run(chosen, host=host, port=port, prefix=root_path, proxy=proxy)
