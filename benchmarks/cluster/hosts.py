"""Hosts made of namespaces: own network, processes, /tmp, /dev/shm, /run, home and sshd, on one bridge.

No interface or mount remains: the namespaces own all of them, and end with their first process, which ends with
this one. A host sees no process outside itself, so a `ray stop` there stops the Ray of that host alone.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
HOME = "/tmp/home"  # noqa: S108  in the host's own /tmp
TOOLS = ("unshare", "nsenter", "setpriv", "ip", "sshd", "ssh", "ssh-keygen", "rsync")
SPACES = ("--net", "--mount", "--pid", "--uts", "--ipc")
ALONE = ("unshare", *SPACES, "--fork", "--mount-proc")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

SSHD = """
HostKey /run/host/host_key
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PidFile none
"""

# Arguments: the host's name, a folder with its keys, the Python environment, folders in /tmp that it must still see.
BOOT = """
set -e
hostname "$1"; keys=$2; env=$3; shift 3
mount -t tmpfs tmpfs /run
mkdir -p /run/sshd /run/host /run/tmp
cp "$keys"/* /run/host
for folder in "$@"; do
    mkdir -p "/run$folder"
    mount --bind "$folder" "/run$folder"
done
mount --rbind /run/tmp /tmp
chmod 1777 /tmp
mount -t tmpfs tmpfs /dev/shm
mount --bind /run/host/passwd /etc/passwd
mount --bind /run/host/shadow /etc/shadow
mkdir -m 700 -p "$HOME/.ssh"
cp -r /etc/skel/. "$HOME"
cp /run/host/key.pub "$HOME/.ssh/authorized_keys"
ln -s "$env" "$HOME/env"
exec "$(command -v sshd)" -D -f /run/host/config -E /run/host/log
"""


class MissingError(Exception):
    """A requirement that this machine lacks, in one line."""


class Host:
    """One host. `address` is its own on the bridge, `pid` its first process as seen from outside."""

    def __init__(self, name: str, number: int, keys: Path) -> None:
        self.name, self.address = name, f"10.77.0.{number}"
        needed = (ROOT, Path(sys.prefix), Path(sys.base_prefix))
        seen = sorted({str(path) for path in needed if path.is_relative_to("/tmp")})  # noqa: S108
        first = ["setpriv", "--pdeathsig", "KILL", *ALONE, "--kill-child=KILL"]
        self.process = subprocess.Popen(
            [*first, "sh", "-c", BOOT, "boot", name, str(keys), sys.prefix, *seen],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
        )
        wait(lambda: bool(psutil.Process(self.process.pid).children()), f"{name} has no first process", 10)
        self.pid = psutil.Process(self.process.pid).children()[0].pid

    def environment(self) -> dict[str, str]:
        """A clean environment with the language, and Ray's token as in the documentation."""
        path = f"{HOME}/env/bin:{PATH}"
        return {"HOME": HOME, "USER": "root", "PATH": path, "LANG": "C.UTF-8", "RAY_AUTH_MODE": "token"}

    def start(self, *command: str, stdout: int | None = None) -> "subprocess.Popen[str]":
        """Start a command on this host, in its home folder."""
        enter = ["nsenter", "--target", str(self.pid), *SPACES, "--", "sh", "-c", 'cd && exec "$@"', "in"]
        return subprocess.Popen(
            [*enter, *command],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT if stdout else None,
            text=True,
        )

    def run(self, *command: str, timeout: float = 300) -> str:
        """Run a command on this host and return what it printed. Raises RuntimeError where it fails."""
        process = self.start(*command, stdout=subprocess.PIPE)
        try:
            text, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            text = f"no end after {timeout} s\n{process.communicate()[0]}"
        if process.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}\n{text}")
        return text

    def network(self, *words: str) -> None:
        """Run `ip` or `tc` in this host's network alone, so that the other hosts' process ids mean something."""
        enter = ["nsenter", "--target", str(self.pid), "--net", "--"]
        subprocess.run([*enter, *words], env={"PATH": PATH}, check=True)

    def ip(self, *words: str) -> None:
        """Run `ip` there."""
        self.network("ip", *words)

    def file(self, path: str) -> Path:
        """A file in this host's home folder, as seen from outside."""
        return Path(f"/proc/{self.pid}/root{HOME}") / path

    def listens(self, port: int) -> bool:
        """Whether a process listens on a port here."""
        table = Path(f"/proc/{self.pid}/net/tcp").read_text(encoding="ascii")
        return any(
            words[1].endswith(f":{port:04X}") and words[3] == "0A" for words in map(str.split, table.splitlines())
        )

    def ray(self) -> list[psutil.Process]:
        """The processes of Ray on this host."""
        space, found = Path(f"/proc/{self.pid}/ns/pid").readlink(), []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if Path(f"/proc/{process.pid}/ns/pid").readlink() == space and ("/ray/" in words or "ray::" in words):
                    found.append(process)
            except (OSError, psutil.Error):
                continue
        return found

    def trains(self) -> bool:
        """Whether a client actor is in the middle of a call here: Ray writes it into the process's title."""
        with suppress(psutil.Error):
            return any("ClientActor.train" in " ".join(process.cmdline()) for process in self.ray())
        return False

    def kill_ray(self) -> int:
        """SIGKILL every process of Ray on this host; how many."""
        found = self.ray()
        for process in found:
            with suppress(psutil.NoSuchProcess):  # gone with its parent
                process.kill()
        return len(found)

    def close(self) -> None:
        """End every process of this host; its interfaces and mounts go with them."""
        self.process.kill()  # its child, the host's first process, is killed along
        self.process.wait()
        wait(lambda: not psutil.pid_exists(self.pid), f"{self.name} does not end", 30)


def wait(until: Callable[[], bool], otherwise: str, seconds: float) -> None:
    """Wait for something, or raise RuntimeError."""
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise RuntimeError(f"{otherwise} after {seconds:g} s")
        time.sleep(0.1)


def require() -> None:
    """Raise `MissingError` where this machine cannot have such hosts."""
    if sys.platform != "linux":
        raise MissingError("namespaces need Linux")
    if os.geteuid():
        raise MissingError("namespaces need root")
    path = f"{os.environ.get('PATH', '')}:{PATH}"
    if lacking := [tool for tool in TOOLS if not shutil.which(tool, path=path)]:
        raise MissingError(f"not installed: {', '.join(lacking)}")
    if not all(importlib.util.find_spec(name) for name in ("aiohttp", "aiohttp_cors", "opencensus", "smart_open")):
        raise MissingError("Ray's dashboard is not installed: pip install 'fedqs_ray[cluster]'")
    if not all((Path(sys.prefix) / "bin" / name).exists() for name in ("ray", "fedqs")):
        raise MissingError(f"no ray or no fedqs in {sys.prefix}/bin")
    tried = subprocess.run(
        [
            *ALONE,
            "sh",
            "-c",
            "mount -t tmpfs t /dev/shm && ip link add name b0 type bridge && ip link add name v0 type veth",
        ],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        raise MissingError(f"no rights to make namespaces: {tried.stderr.strip().splitlines()[-1]}")


def keys(folder: Path) -> None:
    """Keys of the hosts and of their user, the daemon's settings, and a root whose home is the host's own."""
    for name in ("key", "host_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "namespaces", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    (folder / "config").write_text(SSHD, encoding="utf-8")
    others = [line for line in Path("/etc/passwd").read_text(encoding="utf-8").splitlines() if line[:5] != "root:"]
    (folder / "passwd").write_text("\n".join([f"root:x:0:0:root:{HOME}:/bin/bash", *others, ""]), encoding="utf-8")
    (folder / "shadow").write_text("root:*:19000:0:99999:7:::\n", encoding="utf-8")


@contextmanager
def hosts(count: int) -> Iterator[tuple[Host, list[Host]]]:
    """The user's machine, which has the bridge, and `count` hosts connected to it. Ends all of them."""
    require()
    with tempfile.TemporaryDirectory(prefix="hosts-") as place, ExitStack() as held:
        keys(Path(place))
        found = []
        for number, name in enumerate(("desk", "head", *(f"worker{one}" for one in range(1, count))), 1):
            found.append(Host(name, number, Path(place)))
            held.callback(found[-1].close)
        desk, *others = found
        desk.ip("link", "add", "name", "bridge", "type", "bridge")
        desk.ip("address", "add", f"{desk.address}/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            desk.ip("link", "set", "dev", device, "up")
        for host in others:
            desk.ip("link", "add", "name", host.name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
            desk.ip("link", "set", "dev", host.name, "master", "bridge", "up")
            host.ip("address", "add", f"{host.address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                host.ip("link", "set", "dev", device, "up")
            host.ip("route", "add", "default", "via", desk.address)  # leads nowhere; Ray asks for one
        for host in others:
            wait(partial(host.listens, 22), f"no sshd on {host.name}", 20)
        shutil.copy(Path(place) / "key", desk.file(".ssh/key"))
        yield desk, others
