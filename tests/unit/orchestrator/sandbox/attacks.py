"""Programs that try to break each promise of the sandbox; each prints `open: …` for every way that it found."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.sandbox import MIB, Limits
from orchestrator.sandbox.claims import Claim
from orchestrator.sandbox.filter import DENIED, UNKNOWN

BOUNDS = Limits(
    seconds=20, memory_bytes=200 * MIB, processes=30, output_bytes=2000, file_bytes=8 * MIB, disk_bytes=24 * MIB
)
QUICK_END = Limits(seconds=0.5)

# `facts` are what the test knows of the outside; `tried` at the end proves that the program came through.
PRELUDE = """
import ctypes, json, mmap, os, resource, signal, socket, struct, sys, time
facts = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p

def attempt(name, act):
    try: result = act()
    except (OSError, ValueError): return
    if result is not False: print("open:", name, flush=True)

def call(name, act):
    attempt(name, lambda: act() >= 0)
"""

NETWORK = """
def reach(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(2)
        client.connect(address)

attempt("IPv4 loopback", lambda: reach(socket.AF_INET, ("127.0.0.1", facts["port"])))
attempt("IPv6 loopback", lambda: reach(socket.AF_INET6, ("::1", facts["port6"])))
attempt("this machine's address", lambda: reach(socket.AF_INET, (facts["address"], facts["port"])))
attempt("abstract socket", lambda: reach(socket.AF_UNIX, "\\0" + facts["abstract"]))
attempt("socket file", lambda: reach(socket.AF_UNIX, facts["socket"]))
attempt("name server", lambda: reach(socket.AF_INET, ("192.0.2.53", 53), socket.SOCK_DGRAM))
attempt("name server 6", lambda: reach(socket.AF_INET6, ("2001:db8::53", 53), socket.SOCK_DGRAM))
attempt("virtual machine's host", lambda: socket.socket(40, socket.SOCK_STREAM).close())
attempt("raw packets", lambda: socket.socket(17, socket.SOCK_RAW).close())
attempt("kernel's ciphers", lambda: socket.socket(38, socket.SOCK_SEQPACKET).close())
attempt("interfaces", lambda: [name for _, name in socket.if_nameindex()] != ["lo"])
with open("/proc/net/route") as routes: attempt("routes", lambda: len(routes.readlines()) > 1)
"""

FILES = """
def read(path): return bool(open(path, "rb").read(1))

pid = facts["pid"]
places = [*facts["files"], "/etc/shadow", "/proc/kcore", "/dev/mem", "/var/run/docker.sock", "/etc/hostname"]
places += [f"/proc/{pid}/{name}" for name in ("environ", "cmdline", "maps", "mem", "status")]
places += [prefix + facts["files"][0] for prefix in ("/proc/1/root", "/proc/1/cwd/..", "/workspace/../../../..")]
places += [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith(("vd", "sd", "nvme", "loop", "dm-", "xvd"))]
for path in places: attempt(path, lambda: read(path))
for number, path in enumerate(facts["files"]):
    os.symlink(path, f"link{number}")
    attempt("through a link " + path, lambda: read(f"link{number}"))
    attempt("hard link", lambda: os.link(path, f"hard{number}"))
for folder in ("/root", "/home/" + "user/..", "/var/lib", "/srv", "/boot"):
    attempt("list " + folder, lambda: set(os.listdir(folder)) - {"user", *sys.base_prefix.split("/")} != set())
for minor in range(3): attempt("block device", lambda: os.mknod(f"disk{minor}", 0o060644, os.makedev(254, minor)))
"""

# The test looks for these outside; in the sandbox's own memory they may stand.
WRITES = """
for place in facts["places"]:
    try: open(place, "w").close()
    except OSError: pass
for depth in range(1, 9):
    try: open("../" * depth + facts["name"], "w").close()
    except OSError: pass
for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/usr/bin/env",
             "/proc/sys/kernel/hostname", "/sys/kernel/uevent_helper",
             "/etc/passwd", "/bin/sh", sys.executable, "/run/relay.py"):
    attempt("write " + path, lambda: open(path, "r+").close())
"""

PROCESSES = """
attempt("signal the caller", lambda: os.kill(facts["pid"], 0))
attempt("see the caller", lambda: os.stat(f"/proc/{facts['pid']}") is not None)
attempt("see others", lambda: len([name for name in os.listdir("/proc") if name.isdigit()]) > 8)
attempt("lower the caller's limits", lambda: resource.prlimit(facts["pid"], resource.RLIMIT_CORE) is not None)
if facts["isolated"]:
    for pid in (1, os.getppid(), facts["pid"]):
        if pid != os.getpid():
            call("trace", lambda: libc.ptrace(16, pid, None, None))
            call("seize", lambda: libc.ptrace(0x4206, pid, None, None))
    held = dict(line.split(":", 1) for line in open("/proc/1/status") if ":" in line)
    freer = [held["NoNewPrivs"].strip(), held["Seccomp"].strip()] != ["1", "2"] or int(held["CapEff"], 16)
    # Who is held as strictly may be taken over.
    attempt("the sandbox's first process", lambda: bool(freer) and open("/proc/1/mem", "r+b").close())
    attempt("environment of the sandbox's first process", lambda: facts["secret"] in open("/proc/1/environ").read())
"""

PRIVILEGE = """
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
attempt("new privileges", lambda: status["NoNewPrivs"].strip() != "1")
attempt("capabilities", lambda: any(int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")))
attempt("root", lambda: os.setresuid(0, 0, 0))
attempt("groups", lambda: os.setgroups([0]))
for flag in (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x2000000):
    call("namespace", lambda: libc.unshare(flag))
    call("cloned namespace", lambda: libc.syscall(ctypes.c_long(facts["clone"]), flag | 17, None, None, None, None))
call("mount", lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))
call("unmount", lambda: libc.umount2(b"/tmp", 2))
call("remount", lambda: libc.mount(None, b"/usr", None, 32 | 4096, None))
attempt("chroot", lambda: os.chroot("/tmp"))
for name in ("DATA", "FSIZE", "NOFILE", "CORE", "MEMLOCK", "NPROC"):
    number = getattr(resource, "RLIMIT_" + name)
    if resource.getrlimit(number)[1] != resource.RLIM_INFINITY:
        attempt("raise " + name, lambda: resource.setrlimit(number, (resource.RLIM_INFINITY,) * 2))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -5))
attempt("real time", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
for program in ("/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/usr/bin/chsh"):
    attempt("set-user-id " + program, lambda: os.path.exists(program) and not os.statvfs(program).f_flag & os.ST_NOSUID)
"""

# The list without what stops the terminal or the clock where nothing refuses it.
KERNEL = f"""
denied, unknown = {DENIED!r}, {UNKNOWN!r}
column = 0 if os.uname().machine == "x86_64" else 1
if not facts["isolated"]: denied, unknown = {{"unshare": denied["unshare"]}}, {{}}
for table, expected in ((denied, 1), (unknown, 38)):
    for name, numbers in table.items():
        number = numbers[column]
        if number is not None:
            result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(0)] * 6)
            if result >= 0 or ctypes.get_errno() != expected: print("open:", name, result, ctypes.get_errno())
for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541C), ("TIOCSTI, disguised", 0x5412 | 1 << 32)):
    result = libc.ioctl(0, ctypes.c_ulong(request), b"x")
    if ctypes.get_errno() != 1: print("open:", name, ctypes.get_errno())
"""

MEMORY = """
def take():
    try: bytearray(300 * 2**20)
    except MemoryError: return False

attempt("a large array", take)
attempt("a mapping", lambda: libc.mmap(None, ctypes.c_size_t(300 * 2**20), 3, 0x22, -1, 0) != 2**64 - 1)
"""

TOTAL_MEMORY = """
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            hog = b"x" * (80 * 2**20)
            time.sleep(2 if facts["isolated"] else 0.5)
        os._exit(0)
    os.wait()
time.sleep(10 if facts["isolated"] else 0.7)
print("open: all had their memory")
"""

HIDDEN_MEMORY = """
kept = []
for number in range(60):
    attempt("memory of no process", lambda: kept.append(os.memfd_create("x")) or os.write(kept[-1], bytes(2**20)) > 0)
call("shared memory", lambda: libc.shmget(0, ctypes.c_size_t(2**28), 0o1600))
"""

COUNT = """
made = 0
while made < 60:
    try: child = os.fork()
    except OSError: break
    if child == 0: signal.pause()
    made += 1
attempt("sixty processes", lambda: made == 60)
"""

FILE_SIZE = """
def fill():
    with open("big", "wb") as stream:
        for _ in range(12): stream.write(bytes(2**20))

attempt("write", fill)
attempt("stretch", lambda: os.truncate("big", 2**40))
attempt("allocate", lambda: os.posix_fallocate(os.open("big", os.O_RDWR), 0, 2**30))
print("largest:", os.path.getsize("big"))
"""

DISK = """
block = os.urandom(2**20)
for number in range(200):
    with open(str(number), "wb") as stream:
        for _ in range(4): stream.write(block)
time.sleep(10)
print("open: all of it was written")
"""

TIME = """
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: signal.pause()
"""

OUTPUT = """
for _ in range(30):
    os.write(1, b"o" * 2**20)
    os.write(2, b"e" * 2**20)
"""

ENVIRONMENT = """
attempt("a variable of the caller", lambda: facts["secret"] in str(os.environ))
attempt("the caller's variables", lambda: facts["secret"] in open("/proc/self/environ").read())
"""

ATTACKS: dict[Claim, tuple[str, Limits]] = {
    Claim.ENVIRONMENT: (ENVIRONMENT, BOUNDS),
    Claim.TIME: (TIME, QUICK_END),
    Claim.OUTPUT: (OUTPUT, BOUNDS),
    Claim.MEMORY: (MEMORY, BOUNDS),
    Claim.FILE_SIZE: (FILE_SIZE, BOUNDS),
    Claim.DISK: (DISK, BOUNDS),
    Claim.NETWORK: (NETWORK, BOUNDS),
    Claim.FILES: (FILES, BOUNDS),
    Claim.WRITES: (WRITES, BOUNDS),
    Claim.PROCESSES: (PROCESSES, BOUNDS),
    Claim.COUNT: (COUNT, replace(BOUNDS, memory_bytes=2000 * MIB)),
    Claim.PRIVILEGE: (PRIVILEGE, BOUNDS),
    Claim.TOTAL_MEMORY: (TOTAL_MEMORY, BOUNDS),
    Claim.KERNEL: (KERNEL, BOUNDS),
}
