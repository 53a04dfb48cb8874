"""Several hosts on this machine: a network namespace each, with an address of its own, on one switch.

This process sits on the switch too, so it reaches all of them. A cut is one that nobody is told of, as by a switch that
loses a port: packets do not arrive, and both ends find out when they have waited long enough.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import IPv4Network
from typing import Self
from uuid import uuid4

NOBODY = "02:00:00:00:00:01"
"""A hardware address that no host has."""


RANGE = IPv4Network("198.18.0.0/15")
"""Set aside for benchmarks; no network outside has addresses of it."""

WIDTH = 28


def why_not() -> str | None:
    """Why there can be no hosts here; None where there can."""
    if shutil.which("ip") is None:
        return "network namespaces need the command `ip` (iproute2)"
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"nemocc-{uuid4().hex[:8]}"
    done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if done.returncode:
        return f"network namespaces are not allowed here: {done.stderr.strip()}"
    _ip("netns", "delete", name)
    return None


class Hosts:
    """Hosts of these names. Used in a `with` block, at the end of which they are gone.

    Every process that runs on one has to have ended by then.
    """

    def __init__(self, names: Sequence[str]) -> None:
        own, *others = _network().hosts()
        self._own, self._addresses = own, dict(zip(names, map(str, others), strict=False))
        assert len(self._addresses) == len(names), f"there is room for {len(others)} hosts"
        self._tag = uuid4().hex[:6]
        self._switch = f"nd{self._tag}"
        self._made = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as made:
            _ip("link", "add", self._switch, "type", "bridge")
            made.callback(_ip, "link", "delete", self._switch)
            _ip("address", "add", f"{self._own}/{WIDTH}", "dev", self._switch)
            _ip("link", "set", self._switch, "up")
            for name in self._addresses:
                self._add(name, made)
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def _add(self, name: str, made: ExitStack) -> None:
        namespace, cable = self._namespace(name), self._cable(name)
        _ip("netns", "add", namespace)
        made.callback(_ip, "netns", "delete", namespace)  # its end of the cable goes with it, and so the other
        _ip("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("link", "set", cable, "master", self._switch, "up")
        _ip("-n", namespace, "address", "add", f"{self._addresses[name]}/{WIDTH}", "dev", "eth0")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")

    def address(self, name: str) -> str:
        """A host's IP address."""
        return self._addresses[name]

    def inside(self, name: str) -> list[str]:
        """Words before a command that is to run on a host."""
        return ["ip", "netns", "exec", self._namespace(name)]

    def cut(self, name: str) -> None:
        """From now on nothing reaches the host, and nothing comes from it."""
        _ip("link", "set", self._cable(name), "nomaster")

    def mend(self, name: str) -> None:
        """After `cut`."""
        _ip("link", "set", self._cable(name), "master", self._switch)

    def part(self, one: str, other: str) -> None:
        """From now on the two do not reach each other; all others still reach both."""
        for here, there in ((one, other), (other, one)):
            to = [self.address(there), "dev", "eth0"]
            _ip("-n", self._namespace(here), "neighbour", "replace", *to, "lladdr", NOBODY, "nud", "permanent")

    def join(self, one: str, other: str) -> None:
        """After `part`."""
        for here, there in ((one, other), (other, one)):
            _ip("-n", self._namespace(here), "neighbour", "delete", self.address(there), "dev", "eth0")

    def _namespace(self, name: str) -> str:
        return f"nemocc-{self._tag}-{name}"

    def _cable(self, name: str) -> str:
        """The switch's end; the names of devices have 15 letters at most."""
        return f"nd{self._tag}-{list(self._addresses).index(name)}"


def _network() -> IPv4Network:
    """One that no other process on this machine takes."""
    networks = 2 ** (WIDTH - RANGE.prefixlen)
    first = RANGE.network_address + (os.getpid() % networks) * 2 ** (32 - WIDTH)
    return IPv4Network(f"{first}/{WIDTH}")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
