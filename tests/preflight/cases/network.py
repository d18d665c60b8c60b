"""Cases of ports."""

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
# port 7860 = 0x1EB4, state 0A = LISTEN, socket inode 4711
LISTEN = HEAD + "   0: 00000000:1EB4 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1\n"
HELD = {"/proc/net/tcp": LISTEN, "/proc/812/comm": "gradio\n"}

CASES = [
    {"id": "net.ports", "case": "free", "status": "pass", "fact": {}},
    {"id": "net.ports", "case": "another port", "status": "pass", "fact": {"22": None}},
    {"id": "net.ports", "case": "named", "status": "fail", "files": HELD, "links": {"/proc/812/fd/7": "socket:[4711]"},
     "says": "gradio (pid 812)"},
    {"id": "net.ports", "case": "another user's", "status": "fail", "files": {"/proc/net/tcp": LISTEN}, "says": "sudo ss"},
    {"id": "net.ports", "case": "six", "status": "fail", "files": {"/proc/net/tcp6": LISTEN}},
]  # fmt: skip
