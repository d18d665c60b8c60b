"""The gate over HTTP: signing in, other sites, sizes, uploads of others, headers, a proxy's prefix, a restart."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from appliance.store import logins, users
from appliance.ui.gate import same_site

PASSWORD = "correct horse battery"
EVIL = "https://evil.example"


def test_health_needs_no_user_and_tells_little(site):
    client = site.client()
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "store": True, "worker": "missing", "worker_heartbeat_s": None}


def test_nobody_is_sent_to_the_sign_in_page_and_back(site):
    client = site.client()
    answer = client.get("/?tab=runs&run=3", headers={"accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2F%3Ftab%3Druns%26run%3D3"
    form = client.get(answer.headers["location"])
    action = re.search(r'action="([^"]+)"', form.text).group(1)
    done = client.post(action, data={"name": "TRAINER", "password": PASSWORD})
    assert (done.status_code, done.headers["location"]) == (303, "/?tab=runs&run=3")
    assert client.get("/", headers={"accept": "text/html"}).status_code == 200
    assert site.client().get("/").status_code == 401  # not a browser's page view


def test_the_cookie_is_strict_and_not_for_scripts(site):
    answer = site.client().post("/login", data={"name": "admin", "password": PASSWORD})
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Secure" not in cookie  # plain http here
    secure = site.client(headers={"x-forwarded-proto": "https"}).post(
        "/login", data={"name": "admin", "password": PASSWORD}
    )
    assert "Secure" in secure.headers["set-cookie"]


def test_signing_in_again_makes_the_old_cookie_worthless(site):
    client = site.client("admin")
    old = client.cookies["appliance_session"]
    client.post("/login", data={"name": "admin", "password": PASSWORD})
    assert client.cookies["appliance_session"] != old
    assert logins.who(site.store, old) is None


def test_signing_out_works_by_post_alone(site):
    client = site.client("admin")
    token = client.cookies["appliance_session"]
    assert client.get("/logout").status_code == 405
    assert logins.who(site.store, token) is not None
    assert client.post("/logout").status_code == 303
    assert logins.who(site.store, token) is None
    assert "appliance_session" not in client.cookies


@pytest.mark.parametrize(
    "onward", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_signing_in_never_leads_to_another_site(site, onward):
    answer = site.client().post("/login", params={"next": onward}, data={"name": "admin", "password": PASSWORD})
    assert answer.headers["location"] == "/"


def test_five_wrong_passwords_lock_the_user_on_every_address(site):
    users.add(site.store, "locked", PASSWORD, "trainer")
    client = site.client()
    for _ in range(5):
        refused = client.post("/login", data={"name": "locked", "password": "wrong"})
        assert refused.status_code == 403
        assert "not right" in refused.text
    refused = client.post("/login", data={"name": "locked", "password": PASSWORD})
    assert refused.status_code == 403
    assert "Too many wrong passwords. Wait 15 minutes" in refused.text
    assert site.client("trainer")


def test_a_name_is_shown_again_as_text(site):
    refused = site.client().post("/login", data={"name": '"><script>x</script>', "password": "wrong"})
    assert "<script" not in refused.text
    assert "&lt;script&gt;" in refused.text


def test_an_invitation_makes_an_account_and_signs_in(site):
    token = users.invite(site.store, "rater")
    client = site.client()
    assert "Your role: rater" in client.get("/join", params={"token": token}).text
    fields = {"token": token, "name": "rita", "password": PASSWORD, "again": PASSWORD}
    assert "differ" in client.post("/join", data=fields | {"again": "x"}).text
    assert "3 characters" in client.post("/join", data=fields | {"password": "abc", "again": "abc"}).text
    assert client.post("/join", data=fields).status_code == 303
    assert client.get("/account").text.count("rita")
    assert client.post("/join", data=fields | {"name": "rolf"}).status_code == 410
    assert client.get("/join", params={"token": "made up"}).status_code == 410


def test_a_changed_password_keeps_this_browser_and_no_other(site):
    users.add(site.store, "paula", PASSWORD, "trainer")
    here, there = site.client(), site.client()
    for client in (here, there):
        client.post("/login", data={"name": "paula", "password": PASSWORD})
    fields = {"old": PASSWORD, "new": "another password", "again": "another password"}
    assert "present password is not right" in here.post("/account", data=fields | {"old": "x"}).text
    assert here.post("/account", data=fields).status_code == 303
    assert here.get("/account").status_code == 200
    assert there.get("/account").status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": EVIL, "sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
    ],
)
@pytest.mark.parametrize(
    "path", ["/login", "/logout", "/account", "/join", "/api/runs", "/gradio_api/queue/join", "/gradio_api/upload"]
)
def test_what_changes_something_is_refused_from_another_site(site, headers, path):
    answer = site.client("admin").post(path, headers=headers, data={"name": "admin", "password": PASSWORD})
    assert answer.status_code == 403
    assert "another site" in answer.text
    assert "set-cookie" not in answer.headers


def test_requests_of_our_own_page_pass():
    def asked(**headers):
        return same_site(Headers({key.replace("_", "-"): value for key, value in headers.items()}))

    assert asked(host="box:7860", origin="http://box:7860")
    assert asked(host="box:7860", origin="http://box:7860", sec_fetch_site="same-origin")
    assert asked(host="inside:7860", x_forwarded_host="rlhf.example", origin="https://rlhf.example")
    assert asked(host="box:7860")  # no browser
    assert not asked(host="box:7860", origin="http://box:7861")
    assert not asked(host="", origin="file://")


@pytest.mark.parametrize(
    "path",
    ["/", "/login", "/healthz", "/config", "/vote/", "/gradio_api/info", "/api/runs", "/gradio_api/startup-events"],
)
def test_no_origin_is_ever_echoed(site, path):
    client = site.client("admin")
    for host in (None, "rlhf.example"):
        headers = {"origin": EVIL} | ({"host": host} if host else {})
        for answer in (
            client.get(path, headers=headers),
            client.options(path, headers=headers | {"access-control-request-method": "POST"}),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control-allow-o")]
            assert "access-control-allow-credentials" not in answer.headers


def test_pages_carry_the_security_headers(site):
    client = site.client("admin")
    for path in ("/", "/vote/", "/login", "/healthz", "/api/runs"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "default-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    assert "'unsafe" not in client.get("/login").headers["content-security-policy"]


def upload(client, path="/gradio_api/upload", content=b"text\nhello\n", name="p.csv"):
    return client.post(path, files={"files": (name, content)})


def test_an_upload_is_its_uploaders_alone(site):
    admin, trainer = site.client("admin"), site.client("trainer")
    (path,) = upload(admin, content=b"text\nsecret of admin\n").json()
    assert str(site.settings.data) in path
    assert admin.get(f"/gradio_api/file={path}").status_code == 200
    for client in (trainer, site.client("rater"), site.client()):
        assert client.get(f"/gradio_api/file={path}").status_code in (401, 403, 404)
    assert trainer.get(f"/gradio_api/file={path}").status_code == 404
    assert trainer.get(f"/vote/gradio_api/file={path}").status_code == 404
    assert trainer.get(f"/gradio_api/file/{path}").status_code == 404


@pytest.mark.parametrize(
    "asked", ["{data}/appliance.db", "/etc/passwd", "http://127.0.0.1:{port}/healthz", "{upload}/../../appliance.db"]
)
def test_gradios_file_route_gives_nothing_else(site, asked):
    client = site.client("admin")
    (path,) = upload(client).json()
    wanted = asked.format(data=site.settings.data, port=site.port, upload=path.rpartition("/")[0])
    assert client.get(f"/gradio_api/file={wanted}").status_code == 404


def test_nobody_uploads_without_signing_in_and_the_folder_is_private(site):
    assert upload(site.client()).status_code == 401
    assert upload(site.client("rater")).status_code == 403
    assert (site.settings.data / "incoming").stat().st_mode & 0o777 == 0o700


@pytest.fixture(scope="module")
def small(make_site):
    """A server that takes uploads of 1 MiB, below a prefix, with a leftover of an earlier one."""
    return make_site(APPLIANCE_UPLOAD_MIB="1", arguments=("--root-path", "/rlhf"))


def test_an_upload_that_says_it_is_too_large_is_refused_at_once(small):
    answer = upload(small.client("trainer"), "/rlhf/gradio_api/upload", b"x" * (3 << 20))
    assert answer.status_code == 413
    assert "limit of 1 MiB" in answer.text


def test_an_upload_of_unknown_length_is_refused_while_it_comes(small):
    cookie = small.client("trainer").cookies["appliance_session"]
    head = (
        f"POST /gradio_api/upload HTTP/1.1\r\nhost: 127.0.0.1\r\ncookie: appliance_session={cookie}\r\n"
        "content-type: multipart/form-data; boundary=b\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    part = b'--b\r\ncontent-disposition: form-data; name="files"; filename="p.csv"\r\n\r\n'
    block = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", small.port), timeout=20) as connection:
        connection.sendall(head.encode() + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        sent = 0
        try:
            while sent < 1000:  # 64 MiB, if nobody stops it
                connection.sendall(block)
                sent += 1
                connection.setblocking(False)
                try:
                    if connection.recv(1, socket.MSG_PEEK):
                        break
                except BlockingIOError:
                    pass
                finally:
                    connection.settimeout(20)
        except (ConnectionResetError, BrokenPipeError):
            pass
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 413")
    assert sent < 1000
    left = sum(file.stat().st_size for file in (small.settings.data / "incoming").rglob("*") if file.is_file())
    assert left == 0


def test_a_prefix_is_in_every_link(small):
    client = small.client()
    answer = client.get("/", headers={"accept": "text/html"})
    assert answer.headers["location"] == "/rlhf/login?next=%2Frlhf%2F"
    form = client.get("/login").text  # a proxy that takes the prefix away
    assert form == client.get("/rlhf/login").text  # and one that leaves it
    assert '"/rlhf/own/style.css"' in form
    assert 'action="/rlhf/login?' in form
    done = client.post("/rlhf/login", data={"name": "admin", "password": PASSWORD})
    assert done.headers["location"] == "/rlhf/"
    assert "Path=/rlhf/" in done.headers["set-cookie"]
    for path in ("/rlhf/", "/rlhf/vote/", "/rlhf/config", "/rlhf/vote/config", "/rlhf/theme.css"):
        assert client.get(path).status_code == 200, path
    root = client.get("/rlhf/config", headers={"x-forwarded-host": "box.example", "x-forwarded-proto": "https"}).json()[
        "root"
    ]
    assert root == "https://box.example/rlhf"


def test_a_proxys_own_word_for_the_prefix_is_taken(site):
    client = site.client(headers={"x-forwarded-prefix": "/deep/down"})
    assert client.get("/", headers={"accept": "text/html"}).headers["location"].startswith("/deep/down/login")
    bad = site.client(headers={"x-forwarded-prefix": "//evil.example"})
    assert bad.get("/", headers={"accept": "text/html"}).headers["location"] == "/login?next=%2F"


def test_a_restart_keeps_people_signed_in_and_empties_the_incoming_folder(make_site):
    site = make_site(with_users=False)
    link = re.search(r"/join\?token=([\w-]+)", site.log).group(1)
    client = site.client()
    fields = {"token": link, "name": "first", "password": PASSWORD, "again": PASSWORD}
    assert client.post("/join", data=fields).status_code == 303
    (path,) = upload(client).json()
    assert site.stop(kill=True) == -9
    site.start()
    assert client.get("/account").status_code == 200
    assert client.get(f"/gradio_api/file={path}").status_code == 404
    assert list((site.settings.data / "incoming").iterdir()) == []
    assert site.log.count("/join?token=") == 1  # only where there is no user yet
    assert site.stop() == 0
    assert PASSWORD not in site.log


def test_a_second_server_on_the_port_fails_and_leaves_the_first_alone(site):
    (path,) = upload(site.client("trainer")).json()
    command = [sys.executable, "-m", "appliance", "serve", "--port", str(site.port)]
    done = subprocess.run(command, env=site.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"127.0.0.1:{site.port} cannot be listened on" in done.stderr
    assert "choose another --port" in done.stderr
    assert Path(path).is_file()
