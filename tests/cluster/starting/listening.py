"""What listens in processes of Ray, and whether it is closed to others: on loopback alone, asking for Ray's token."""

import ipaddress
from pathlib import Path

import psutil


def listening(process: psutil.Process) -> set[tuple[str, str, str]]:
    """What listens in a process and in those below it: its name, the address, and how its Ray authenticates."""
    found = set()
    for each in (process, *process.children(recursive=True)):
        try:
            sockets = [open_ for open_ in each.net_connections(kind="inet") if open_.status == psutil.CONN_LISTEN]
            name, mode = (each.cmdline() or [each.name()])[0], each.environ().get("RAY_AUTH_MODE", "")
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        found |= {(Path(name.split()[0]).name, open_.laddr.ip, mode) for open_ in sockets}
    return found


def is_loopback(text: str) -> bool:
    """Also of an IPv4 address as a socket of IPv6 has it, `::ffff:127.0.0.1`."""
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def check(found: set[tuple[str, str, str]], *kinds: str) -> None:
    """Only loopback is listened on, and processes of these kinds were seen, which ask for a token."""
    names = {name for name, _, _ in found}
    for kind in kinds:
        assert any(kind in name for name in names), f"no {kind} listens among {names}"
    reached = sorted(each for each in found if not is_loopback(each[1]))
    assert not reached, f"not on loopback: {reached}"
    modes = {mode for name, _, mode in found if name in ("gcs_server", "raylet")}
    assert modes == {"token"}, f"who connects is asked by {modes}"
