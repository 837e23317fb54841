#!/usr/bin/env python3
"""Apache Kafka on this machine, without Docker: one broker to develop with, three to break.

    python deploy/kafka/cluster.py start DIR              one broker; prints its address
    python deploy/kafka/cluster.py start DIR --brokers 3  replication 3, min.insync.replicas 2
    python deploy/kafka/cluster.py status DIR
    python deploy/kafka/cluster.py stop DIR

Needs Java 17 and Maven. The jars are resolved from pom.xml beside this file, once, into
`libs` beneath the user's cache folder. Brokers listen on free ports of 127.0.0.1, keep their data in
DIR/N, and are KRaft controllers, too: nothing else runs. What is in DIR survives `stop`; `start`
goes on with it, on the same ports.

Topics are not made by mistake (auto.create.topics.enable=false), take records of 10 MiB and
keep them for ever. These are the settings of the compose file beside this one.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
POM = HERE / "pom.xml"
STARTED = "Kafka Server started"
START_DEADLINE_S = 90.0
STOP_DEADLINE_S = 30.0
PORTS = (15_000, 30_000)
MAX_RECORD_BYTES = 10 << 20
# A broker for a laptop: it starts in seconds and stays below half a gigabyte.
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

_LOG4J = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d %p %m (%c)%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
"""


class Unavailable(Exception):
    """Kafka cannot run here; the message says what is missing and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One more address of every broker: its name, its protocol (SSL, SASL_SSL, …) and its properties.

    The properties are those of server.properties, without `listener.name.{name}.` before them.
    """

    name: str
    protocol: str
    properties: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """The brokers whose data is in one folder; numbers count from 1.

    A broker is a process of its own, so it outlives this object: `stop` ends it in good order,
    `kill` at once. `settings` are added to every broker's server.properties. `scram` are the passwords
    of users that SASL/SCRAM knows, from the first start on.
    """

    def __init__(
        self,
        folder: Path,
        *,
        brokers: int = 1,
        settings: Mapping[str, str] | None = None,
        listeners: Sequence[Listener] = (),
        scram: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self._settings = dict(settings or {})
        self._listeners = tuple(listeners)
        self._scram = dict(scram or {})
        self.numbers = tuple(range(1, brokers + 1))
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    def found(cls, folder: Path) -> Cluster:
        """The cluster that was begun in `folder`; raises `Unavailable` when there is none."""
        ports = _ports_of(folder)
        if ports is None:
            raise Unavailable(f"no cluster was started in {folder}")
        return cls(folder, brokers=len(ports))

    @property
    def bootstrap(self) -> str:
        """The addresses of all brokers, for `bootstrap.servers`."""
        ports = _ports_of(self.folder) or []
        return ",".join(f"127.0.0.1:{client}" for client, *_ in ports)

    def bootstrap_of(self, listener: str) -> str:
        """The addresses of one of the further listeners; brokers are known there as `localhost`."""
        at = 2 + [each.name for each in self._listeners].index(listener)
        return ",".join(f"localhost:{ports[at]}" for ports in _ports_of(self.folder) or [])

    def start(self) -> str:
        """Start what does not run, wait until all take requests, and return `bootstrap`.

        Raises `Unavailable` with the end of a broker's log when one does not come up; what was
        started by this call is then ended again.
        """
        classpath = _classpath()
        self._prepare(classpath)
        asleep = [number for number in self.numbers if self._pid(number) is None]
        try:
            for number in asleep:
                self._launch(number, classpath)
            self._await(*self.numbers)
        except BaseException:
            # Without its quorum a broker does not end in good order; it has kept nothing of anyone's yet.
            for number in asleep:
                self.kill(number)
            raise
        return self.bootstrap

    def start_broker(self, number: int) -> None:
        """Start one broker that was stopped or killed, and wait until it takes requests."""
        self._launch(number, _classpath())
        self._await(number)

    def stop(self) -> None:
        """End all brokers in good order, together; those that do not end in time are killed."""
        for number in self.numbers:
            _signalled(self._pid(number), signal.SIGTERM)
        for number in self.numbers:
            self._await_end(number)

    def stop_broker(self, number: int) -> None:
        """End one broker in good order: it hands its partitions over first."""
        _signalled(self._pid(number), signal.SIGTERM)
        self._await_end(number)

    def kill(self, number: int) -> None:
        """kill -9 one broker."""
        _signalled(self._pid(number), signal.SIGKILL)
        self._await_end(number)

    def pause(self, number: int) -> None:
        """SIGSTOP one broker: it answers nothing and does not know it."""
        _signalled(self._pid(number), signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """SIGCONT it."""
        _signalled(self._pid(number), signal.SIGCONT)

    def running(self) -> tuple[int, ...]:
        """The numbers of the brokers whose processes live."""
        return tuple(number for number in self.numbers if self._pid(number) is not None)

    def log(self, number: int) -> Path:
        """What the broker printed since it was last started."""
        return self.folder / str(number) / "broker.log"

    # -- one broker ----------------------------------------------------------------------

    def _prepare(self, classpath: str) -> None:
        """Ports, properties and formatted storage, where they are not there yet."""
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = _ports_of(self.folder)
        if ports is None:
            ports = _free_ports(len(self.numbers), 2 + len(self._listeners))
            state = {"cluster_id": _cluster_id(), "ports": ports}
            (self.folder / "cluster.json").write_text(json.dumps(state))
        if len(ports) != len(self.numbers) or len(ports[0]) != 2 + len(self._listeners):
            raise Unavailable(
                f"{self.folder} holds a cluster of {len(ports)} with {len(ports[0]) - 2} further listeners, "
                f"not of {len(self.numbers)} with {len(self._listeners)}: choose another"
            )
        cluster_id = json.loads((self.folder / "cluster.json").read_text())["cluster_id"]
        (self.folder / "log4j2.xml").write_text(_LOG4J)
        for number in self.numbers:
            home = self.folder / str(number)
            home.mkdir(exist_ok=True)
            properties = home / "server.properties"
            properties.write_text(_lines(self._properties(number, ports) | self._settings))
            if not (home / "data" / "meta.properties").exists():
                self._format(classpath, cluster_id, properties)

    def _format(self, classpath: str, cluster_id: str, properties: Path) -> None:
        users = [f"SCRAM-SHA-512=[name={user},password={password}]" for user, password in self._scram.items()]
        options = [part for user in users for part in ("--add-scram", user)]
        command = ("kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties), *options)
        _run_java(classpath, *command)

    def _properties(self, number: int, ports: list[list[int]]) -> dict[str, str]:
        client, controller, *further = ports[number - 1]
        listeners = list(zip(self._listeners, further, strict=True))
        copies = min(3, len(ports))
        return {
            "process.roles": "broker,controller",
            "node.id": str(number),
            "controller.quorum.voters": ",".join(
                f"{n}@127.0.0.1:{c}" for n, (_, c, *_) in enumerate(ports, 1)
            ),
            "listeners": ",".join(
                (
                    f"CLIENT://127.0.0.1:{client}",
                    f"CONTROLLER://127.0.0.1:{controller}",
                    *(f"{each.name}://127.0.0.1:{port}" for each, port in listeners),
                )
            ),
            "advertised.listeners": ",".join(
                (
                    f"CLIENT://127.0.0.1:{client}",
                    *(f"{each.name}://localhost:{port}" for each, port in listeners),
                )
            ),
            "listener.security.protocol.map": ",".join(
                (
                    "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                    *(f"{each.name}:{each.protocol}" for each in self._listeners),
                )
            ),
            "inter.broker.listener.name": "CLIENT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.folder / str(number) / "data"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": str(copies),
            "min.insync.replicas": str(max(1, copies - 1)),
            "unclean.leader.election.enable": "false",
            "message.max.bytes": str(MAX_RECORD_BYTES),
            "replica.fetch.max.bytes": str(MAX_RECORD_BYTES),
            "log.retention.ms": "-1",
            "offsets.topic.replication.factor": str(copies),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(copies),
            "transaction.state.log.min.isr": str(max(1, copies - 1)),
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": str(copies),
            "share.coordinator.state.topic.min.isr": str(max(1, copies - 1)),
            "group.initial.rebalance.delay.ms": "0",
            "broker.session.timeout.ms": "6000",
        } | {
            f"listener.name.{each.name.lower()}.{key}": value
            for each in self._listeners
            for key, value in each.properties.items()
        }

    def _launch(self, number: int, classpath: str) -> None:
        if self._pid(number) is not None:
            return
        home = self.folder / str(number)
        with self.log(number).open("wb") as output:
            process = subprocess.Popen(
                [
                    _java(),
                    *JVM,
                    f"-Dlog4j2.configurationFile={self.folder / 'log4j2.xml'}",
                    "-cp",
                    classpath,
                    "kafka.Kafka",
                    str(home / "server.properties"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children[number] = process
        (home / "pid").write_text(f"{process.pid} {_born(process.pid)}")

    def _await(self, *numbers: int) -> None:
        """Wait until these take requests; the first that dies is told, whatever the others wait for."""
        deadline = time.monotonic() + START_DEADLINE_S
        waiting = set(numbers)
        while waiting:
            for number in sorted(waiting):
                if STARTED in self.log(number).read_text(errors="replace"):
                    waiting.remove(number)
                elif self._pid(number) is None or time.monotonic() > deadline:
                    raise Unavailable(f"broker {number} did not start:\n{_tail(self.log(number))}")
            time.sleep(0.05)

    def _await_end(self, number: int) -> None:
        deadline = time.monotonic() + STOP_DEADLINE_S
        while (pid := self._pid(number)) is not None:
            if time.monotonic() > deadline:
                _signalled(pid, signal.SIGKILL)
            time.sleep(0.05)
        child = self._children.pop(number, None)
        if child is not None:
            child.wait()

    def _pid(self, number: int) -> int | None:
        """The broker's process, if it lives: a pid that another process got meanwhile is not it."""
        try:
            pid, born = (self.folder / str(number) / "pid").read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        child = self._children.get(number)
        if child is not None:
            child.poll()  # or it would stay a zombie
        return int(pid) if _born(int(pid)) == born else None


# -- the machine ---------------------------------------------------------------------------


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None or not Path(found).exists():
        raise Unavailable(
            "Kafka needs Java 17 or newer, and there is no `java` (apt install openjdk-17-jre-headless)"
        )
    return found


def _classpath() -> str:
    """All jars, resolved by Maven at the first use; one process resolves, others wait."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headwater"
    libs = cache / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not libs.is_dir():
            _resolve(libs)
    return str(libs / "*")


def _resolve(libs: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise Unavailable("Kafka's jars come from Maven, and there is no `mvn` (apt install maven)")
    partial = libs.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    done = subprocess.run(
        [maven, "-q", "-B", "-f", str(POM), *goal], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"Maven could not resolve Kafka:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    partial.rename(libs)


def _run_java(classpath: str, *command: str) -> None:
    done = subprocess.run(
        [_java(), *JVM, "-cp", classpath, *command], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Unavailable(f"{command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _free_ports(brokers: int, each: int) -> list[list[int]]:
    """Ports for every broker: client, controller, further ones; held open together, so that all differ.

    From below those that the system gives to connections: one of these might take it before the broker does.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        while len(found) < each * brokers:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", random.randrange(*PORTS)))
                found.append(int(probe.getsockname()[1]))
    return [found[at : at + each] for at in range(0, len(found), each)]


def _ports_of(folder: Path) -> list[list[int]] | None:
    try:
        state = json.loads((folder / "cluster.json").read_text())
    except FileNotFoundError:
        return None
    return [list(ports) for ports in state["ports"]]


def _cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()


def _lines(properties: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in properties.items())


def _born(pid: int) -> str:
    """When the process began, as text that no other process with this pid has; "" when it is gone."""
    if Path("/proc/self").exists():
        try:
            status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if status[0] == "Z" else status[19]
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip().replace(" ", "_")


def _signalled(pid: int | None, number: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _tail(path: Path, lines: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


# -- the command ---------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Apache Kafka on this machine, without Docker.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("start", "start the brokers and print their addresses"),
        ("status", "say which brokers run"),
        ("stop", "end the brokers; their data stays"),
    ):
        command = commands.add_parser(name, help=what, description=what)
        command.add_argument("folder", metavar="DIR", type=Path, help="where the brokers keep their data")
        if name == "start":
            command.add_argument("--brokers", type=int, default=1, choices=range(1, 6), metavar="N")
    asked = parser.parse_args(arguments)
    try:
        for line in _answered(asked):
            sys.stdout.write(f"{line}\n")
    except Unavailable as problem:
        sys.stderr.write(f"kafka: {problem}\n")
        return 3
    return 0


def _answered(asked: argparse.Namespace) -> Iterator[str]:
    if asked.command == "start":
        yield Cluster(asked.folder, brokers=asked.brokers).start()
        return
    cluster = Cluster.found(asked.folder)
    if asked.command == "stop":
        cluster.stop()
    running = cluster.running()
    yield f"{len(running)} of {len(cluster.numbers)} brokers run{': ' + cluster.bootstrap if running else ''}"


if __name__ == "__main__":
    sys.exit(main())
