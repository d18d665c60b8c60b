"""Cases of room on the disks and of the data folder."""

GIB = 1 << 30


def disk(free, total=500, inodes=(1_000_000, 900_000)):
    return {
        "total_bytes": int(total * GIB),
        "free_bytes": int(free * GIB),
        "total_inodes": inodes[0],
        "free_inodes": inodes[1],
    }


def data(*args, **kwargs):
    return {"folder": "/data", "disk": disk(*args, **kwargs)}


def tried(error, where="/data", owner=0):
    return {"folder": "/data", "tried": where, "error": error, "uid": 10001, "owner": owner}


INFO = 'echo \'{"DockerRootDir":"%s"}\''

CASES = [
    {"id": "disk.data", "case": "half free", "status": "pass", "fact": data(250)},
    {"id": "disk.data", "case": "a tenth of a large disk", "status": "pass", "fact": data(300, total=3000)},
    {"id": "disk.data", "case": "a tenth", "status": "warn", "fact": data(50), "says": "appliance runs"},
    {"id": "disk.data", "case": "recipe fits", "status": "pass", "fact": data(250), "need": {"disk_gib": 40.0}},
    {"id": "disk.data", "case": "recipe too large", "status": "fail", "fact": data(30, total=100),
     "need": {"disk_gib": 40.0}, "says": "growpart"},
    {"id": "disk.data", "case": "full", "status": "fail", "fact": data(0.2)},
    {"id": "disk.data", "case": "no inodes", "status": "warn", "fact": data(250, inodes=(1_000_000, 100)), "says": "inodes"},
    {"id": "disk.data", "case": "a system without inodes", "status": "pass", "fact": data(250, inodes=(0, 0))},
    {"id": "disk.data", "case": "cannot be asked", "status": "skip", "fact": {"folder": "/data", "disk": None}},
    {"id": "disk.docker", "case": "room", "status": "pass", "fact": {"folder": "/var/lib/docker", "disk": disk(60)}},
    {"id": "disk.docker", "case": "tight", "status": "warn", "fact": {"folder": "/var/lib/docker", "disk": disk(12)},
     "says": "docker image prune"},
    {"id": "disk.docker", "case": "full", "status": "fail", "fact": {"folder": "/var/lib/docker", "disk": disk(0.1)}},
    {"id": "disk.docker", "case": "elsewhere", "status": "skip", "commands": {"docker": INFO % "/not/here"},
     "says": "/not/here"},
    {"id": "disk.docker", "case": "hangs", "status": "skip", "commands": {"docker": "echo not json"}},
    {"id": "vol.writable", "case": "it is", "status": "pass", "files": {"/data/runs.txt": ""},
     "environ": {"APPLIANCE_DATA": "/data"}},
    {"id": "vol.writable", "case": "made by the first run", "status": "pass", "files": {"/srv/x": ""},
     "environ": {"APPLIANCE_DATA": "/srv/data/runs"}, "says": "/srv takes a file"},
    {"id": "vol.writable", "case": "a file in its place", "status": "fail", "files": {"/data": "text"},
     "environ": {"APPLIANCE_DATA": "/data/runs"}, "says": "not a folder"},
    {"id": "vol.writable", "case": "another's", "status": "fail", "fact": tried("EACCES"), "says": "chown -R 10001:10001"},
    {"id": "vol.writable", "case": "not there and may not be made", "status": "fail", "fact": tried("EACCES", "/"),
     "says": "no volume is mounted there"},
    {"id": "vol.writable", "case": "no volume in a read-only container", "status": "fail", "fact": tried("EROFS", "/"),
     "says": "volumes: ['./data:/data']"},
    {"id": "vol.writable", "case": "read-only", "status": "fail", "fact": tried("EROFS"), "says": ":ro"},
    {"id": "vol.writable", "case": "full", "status": "fail", "fact": tried("ENOSPC"), "says": "growpart"},
]  # fmt: skip
