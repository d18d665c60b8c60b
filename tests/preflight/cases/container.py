"""Cases of the container engine and of what a container was given."""

SERVER = 'echo \'{"Client":{"Version":"28.1.0"},"Server":{"Version":"%s"}}\''
NO_SERVER = "echo '{\"Client\":{},\"Server\":null}'; echo 'Cannot connect to the Docker daemon' >&2; exit 1"
DENIED = "echo 'permission denied while trying to connect to the socket' >&2; exit 1"
GIB = 1 << 30


def shm(size):
    return {"total_bytes": size, "free_bytes": size, "total_inodes": 1, "free_inodes": 1}


CASES = [
    {"id": "docker.engine", "case": "new", "status": "pass", "commands": {"docker": SERVER % "28.1.0"}},
    {"id": "docker.engine", "case": "old", "status": "warn", "commands": {"docker": SERVER % "24.0.7"}},
    {"id": "docker.engine", "case": "absent", "status": "fail", "says": "docker-ce"},
    {"id": "docker.engine", "case": "stopped", "status": "fail", "commands": {"docker": NO_SERVER}, "says": "restart"},
    {"id": "docker.engine", "case": "denied", "status": "fail", "commands": {"docker": DENIED}, "says": "usermod"},
    {"id": "ctr.shm", "case": "set", "status": "pass", "fact": shm(8 * GIB)},
    {"id": "ctr.shm", "case": "default", "status": "warn", "fact": shm(64 << 20), "says": "shm_size"},
    {"id": "ctr.shm", "case": "none", "status": "warn", "fact": None},
]
