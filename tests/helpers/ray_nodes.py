"""A Ray cluster of this machine alone, that ends without `ray stop`, which would end every Ray of the user."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


class Cluster:
    """Nodes of Ray, each a `ray start` of its own with one core, in a home of their own for their token and logs."""

    def __init__(self, environment=os.environ):
        self.home = Path(tempfile.mkdtemp(prefix="ray"))  # short, for the paths of sockets have at most 107 characters
        with socket.socket() as free:
            free.bind(("", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        kept = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
        self.environment = {
            **kept,
            "HOME": str(self.home),
            "OMP_NUM_THREADS": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "RAY_health_check_period_ms": "1000",
        }
        self.of_users = {name: value for name, value in self.environment.items() if not name.startswith("RAY_")}
        self.ray = Path(sys.executable).with_name("ray")
        subprocess.run(
            [self.ray, "get-auth-token", "--generate"], env=self.environment, check=True, capture_output=True
        )
        self.nodes = {}

    def start(self, name, *words):
        command = [self.ray, "start", *words, "--block", "--num-cpus=1", f"--node-name={name}"]
        log = self.home / f"{name}.log"
        with log.open("w") as said:
            self.nodes[name] = subprocess.Popen(
                [*command, "--object-store-memory=80000000"], env=self.environment, stdout=said, stderr=said
            )
        deadline = time.monotonic() + 300
        while "Ray runtime started" not in log.read_text():
            assert self.nodes[name].poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)

    def kill(self, name):
        """As a power cut: every process of a node at once."""
        top = self.nodes.pop(name)
        processes = [top.pid, *descendants(top.pid)]
        commands = [Path(f"/proc/{process}/cmdline").read_text() for process in processes]
        assert any("raylet" in command for command in commands)
        for process in processes:
            os.kill(process, signal.SIGKILL)
        top.wait()

    def stop(self):
        under = [process for node in self.nodes.values() for process in descendants(node.pid)]
        for node in self.nodes.values():
            node.terminate()
        for node in self.nodes.values():
            node.wait(timeout=300)
        deadline = time.monotonic() + 30
        while any(Path(f"/proc/{process}").exists() for process in under) and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(self.home)


def descendants(process):
    """All processes under one, from /proc."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
        except (OSError, ProcessLookupError):
            continue  # ended meanwhile
        children.setdefault(parent, []).append(int(status.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found[1:]
