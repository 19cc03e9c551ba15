"""`ray up` on hosts that are namespaces of this machine; a job whose clients train on all of them; a host's Ray killed.

python benchmarks/cluster/namespaces.py [--hosts 2] [--rounds 80]

Executes the steps of docs/cluster.md with onprem.yaml: makes a token, starts the cluster, submits the dropout scenario
through the dashboard's tunnel, fetches the run's folder and stops the cluster. Once undisturbed, and once with
SIGKILL for every process of Ray on the last host, in the middle. Compares every byte with the same run on a private
Ray, and writes benchmarks/results/cluster.md. Exit status 1 if a byte differs, 77 if this machine cannot have
such hosts.
"""

import argparse
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hosts import ROOT, Host, MissingError, hosts, wait

from fedqs_ray.runs.layout import REPRODUCIBLE
from fedqs_ray.runs.tables import read_table

sys.path.insert(0, str(ROOT / "benchmarks"))
from common import RESULTS, machine

DASHBOARD = ("--address", "http://127.0.0.1:8265")
CLUSTER = "onprem.yaml"


class Log:
    """Steps, their seconds, and remarks."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, str]] = []

    @contextmanager
    def step(self, what: str) -> Iterator[list[str]]:
        """Time a step. Remarks that are appended to its list go into its row."""
        print(f"{what} ...", flush=True)
        start, remarks = time.monotonic(), list[str]()
        yield remarks
        self.rows.append((what, time.monotonic() - start, "; ".join(remarks)))
        print(f"    {self.rows[-1][1]:.1f} s  {self.rows[-1][2]}", flush=True)

    def markdown(self) -> list[str]:
        """As a table."""
        rows = [f"| {what} | {seconds:.1f} | {seen} |" for what, seconds, seen in self.rows]
        return ["| step | seconds | seen |", "|---|---|---|", *rows]


class Scene:
    """The user's machine, the hosts, and the settings of the repeated run."""

    def __init__(self, desk: Host, nodes: list[Host], rounds: int, log: Log) -> None:
        self.desk, self.nodes, self.rounds, self.log = desk, nodes, rounds, log
        settings = ["scenario.name=dropout", f"run.rounds={rounds}", "training.local_epochs=30"]
        settings += ["task.model=fcn", "algorithm.sketch_dim=1024"]  # updates stay on their nodes, and die with them
        self.flags = [word for value in settings for word in ("--set", value)]
        self.same: list[bool] = []

    def write_cluster_file(self) -> None:
        """Fill in onprem.yaml. One CPU a host, so that every host gets a client actor; workers when a run asks."""
        config = yaml.safe_load((Path(__file__).parent / CLUSTER).read_text(encoding="utf-8"))
        head, *workers = self.nodes
        config["provider"] |= {"head_ip": head.address, "worker_ips": [one.address for one in workers]}
        config["min_workers"] = 0
        config["auth"] = {"ssh_user": "root", "ssh_private_key": "~/.ssh/key"}
        for there, here in config["file_mounts"].items():
            config["file_mounts"][there] = here if here.startswith("~") else str(ROOT / here)
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            small = "ray start --num-cpus=1 --object-store-memory=200000000 "
            config[key] = [command.replace("ray start ", small) for command in config[key]]
        self.desk.file(CLUSTER).write_text(yaml.safe_dump(config), encoding="utf-8")

    def listed(self, what: str, *filters: str) -> list[dict[str, Any]]:
        """The rows of `ray list`."""
        words = [word for one in filters for word in ("--filter", one)]
        text = self.desk.run("ray", "list", what, *DASHBOARD, "--format", "json", "--limit", "10000", *words)
        found: list[dict[str, Any]] = json.loads(
            next((line for line in text.splitlines() if line.startswith("[{")), "[]")
        )
        return found

    def trained(self) -> Counter[str]:
        """Finished calls of client actors, by host. A host that died and came back is two of Ray's nodes."""
        names = {node.address: node.name for node in self.nodes}
        where = {node["node_id"]: names[node["node_ip"]] for node in self.listed("nodes")}
        calls = self.listed("tasks", "state=FINISHED", "type=ACTOR_TASK")
        return Counter(where[call["node_id"]] for call in calls if call["name"].startswith("ClientActor.train"))

    def job(self, what: str, out: str, victim: Host | None = None) -> None:
        """Submit a run as a Ray job, perhaps kill the Ray of a host in its middle; compare its files."""
        before, head = self.trained(), self.nodes[0]
        wanted = ["--set", f"clients.actors={len(self.nodes)}", "--set", "run.wait_for_nodes=180"]
        command = ["fedqs", "run", *self.flags, *wanted, "--set", "run.address=auto", "--out", f"runs/{out}"]
        with self.log.step(what) as seen:
            submit = ["ray", "job", "submit", *DASHBOARD, "--", *command, "--quiet"]
            job = self.desk.start(*submit, stdout=subprocess.PIPE)
            if victim:
                rows = head.file(f"runs/{out}/rounds.arrows")
                wait(
                    lambda: rows.exists() and read_table(rows.parent, "rounds").num_rows > self.rounds // 4,
                    "no rounds",
                    240,
                )
                wait(victim.trains, f"{victim.name} does not train", 60)
                seen.append(
                    f"{victim.kill_ray()} processes killed after round {read_table(rows.parent, 'rounds').num_rows}"
                )
            text, _ = job.communicate(timeout=300)
            if job.returncode:
                raise RuntimeError(f"the job failed\n{text}")
            calls = self.trained() - before
            seen.append("training calls: " + ", ".join(f"{node.name} {calls[node.name]}" for node in self.nodes))
            if not all(calls[node.name] for node in self.nodes if node is not victim):
                raise RuntimeError(f"clients did not train on every host: {calls}")
        if victim:
            with self.log.step(f"until Ray counts {victim.name} as dead"):
                wait(lambda: bool(self.listed("nodes", "state=DEAD")), "Ray does not see that a node died", 120)
            with self.log.step(f"until the head brought {victim.name} back"):
                wait(lambda: len(self.listed("nodes", "state=ALIVE")) == len(self.nodes), "it stays away", 120)
        with self.log.step("`ray rsync-down`") as seen:
            self.desk.run("ray", "rsync-down", CLUSTER, "~/runs/", "runs/")
            calm, found = (self.desk.file(f"runs/{name}") for name in ("private", out))
            differ = [name for name in REPRODUCIBLE if (calm / name).read_bytes() != (found / name).read_bytes()]
            seen.append("bytes equal: " + (f"no: {', '.join(differ)}" if differ else "yes"))
            self.same.append(not differ)

    def play(self) -> None:
        """Run all steps."""
        desk, last = self.desk, self.nodes[-1]
        with self.log.step("the run on a private Ray"):
            desk.run("fedqs", "run", *self.flags, "--out", "runs/private", "--quiet")
        desk.run("ray", "get-auth-token", "--generate")
        self.write_cluster_file()
        with self.log.step("`ray up -y`"):
            desk.run("ray", "up", "-y", CLUSTER)
        tunnel = desk.start("ray", "dashboard", CLUSTER, stdout=subprocess.DEVNULL)
        wait(lambda: desk.listens(8265), "no tunnel to the dashboard", 30)
        self.job("`ray job submit`, undisturbed", "undisturbed")
        self.job(f"`ray job submit`, the Ray of {last.name} killed", "disturbed", last)
        tunnel.kill()
        with self.log.step("`ray down -y`, and `ray stop` on the workers") as seen:
            desk.run("ray", "down", "-y", CLUSTER)
            for worker in self.nodes[1:]:
                options = ["-i", ".ssh/key", "-o", "StrictHostKeyChecking=no"]
                desk.run("ssh", *options, worker.address, "env/bin/ray stop")
            seen.append(f"processes of Ray left: {sum(len(node.ray()) for node in self.nodes)}")


def main() -> None:
    """Play the scene, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=2, help="of the cluster, 2 to 9 (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=80, help="of a run (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS / "cluster.md", help="the table (default: %(default)s)")
    arguments = parser.parse_args()
    if not 2 <= arguments.hosts <= 9:
        parser.error(f"--hosts {arguments.hosts}: must be from 2 to 9")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder with the keys goes too
    log = Log()
    try:
        with hosts(arguments.hosts) as (desk, nodes):
            scene = Scene(desk, nodes, arguments.rounds, log)
            scene.play()
    except MissingError as error:
        print(error, file=sys.stderr)
        raise SystemExit(77) from None
    lines = [
        "# A cluster of namespaces",
        "",
        f"Command: `python benchmarks/cluster/namespaces.py --hosts {arguments.hosts} --rounds {arguments.rounds}`. "
        f"{arguments.hosts} hosts, {arguments.hosts - 1} of them workers; digits, fcn, FedQS-SGD with "
        f"a sketch of 1,024 numbers, 100 clients, dropout. "
        f"**{sum(scene.same)} of {len(scene.same)} runs on the cluster ended with the bytes of the run on a private "
        f"Ray** in {', '.join(REPRODUCIBLE)}.",
        "",
        *log.markdown(),
        "",
        machine(),
    ]
    arguments.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(arguments.out.read_text(encoding="utf-8"))
    if not all(scene.same):
        raise SystemExit("some bytes differ")


if __name__ == "__main__":
    main()
