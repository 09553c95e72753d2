"""What control groups allow, read from folders as the kernel shows them: versions 1 and 2, nested, in containers."""

import math
from pathlib import Path

import pytest

from serve_deployments.device.cgroups import Quota, cpu_pressure_s, cpu_quota, memory_free_share

V2 = "31 23 0:28 {top} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:3 {top} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{name}"
NO_LIMIT = str(2**63 - 4096)


def system(root: Path, groups: str, mounts: str, files: dict[str, str]) -> Path:
    """A machine's folders: what /proc/self says, and the files of the control groups."""
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + "\n")
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "sys/fs/cgroup" / name).write_text(text + "\n")
    return root


def v1(name: str, top: str = "/") -> str:
    return V1.format(top=top, name=name)


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "cores"),
    [
        ("0::/", V2.format(top="/"), {"cpu.max": "150000 100000"}, 1.5),
        ("0::/", V2.format(top="/"), {"cpu.max": "max 100000"}, math.inf),
        ("0::/", V2.format(top="/"), {}, math.inf),
        # As `systemd-run --scope -p CPUQuota=150%` makes it: the group's own quota, and the slice's around it.
        ("0::/user.slice/a.scope", V2.format(top="/"), {"user.slice/a.scope/cpu.max": "150000 100000"}, 1.5),
        ("0::/user.slice/a.scope", V2.format(top="/"), {
            "user.slice/a.scope/cpu.max": "400000 100000", "user.slice/cpu.max": "50000 100000",
        }, 0.5),
        # A container that sees the whole machine's tree of names, but has only its own part mounted.
        ("0::/docker/abc", V2.format(top="/docker/abc"), {"cpu.max": "25000 50000"}, 0.5),
        # The kernel writes a blank in a path of a mount as an octal number.
        ("0::/", V2.format(top="/").replace("cgroup rw", r"cgroup/a\040b rw"), {"a b/cpu.max": "25000 50000"}, 0.5),
        ("3:cpu,cpuacct:/", v1("cpu"), {"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5),
        ("3:cpu,cpuacct:/", v1("cpu"), {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("3:cpu:/a/b\n0::/", v1("cpu"), {"cpu/a/cpu.cfs_quota_us": "300000", "cpu/a/cpu.cfs_period_us": "100000"}, 3),
        ("4:memory:/a", v1("memory"), {"memory/a/cpu.max": "100000 100000"}, math.inf),
        ("", "", {}, math.inf),
    ],
)  # fmt: skip
def test_the_tightest_cpu_quota_of_all_levels_counts(tmp_path, groups, mounts, files, cores):
    found = cpu_quota(system(tmp_path, groups, mounts, files))
    assert found.cores == cores and bool(found.group) == math.isfinite(cores)


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert cpu_quota(tmp_path) == Quota() and memory_free_share(tmp_path) == 1.0
    assert cpu_quota().cores > 0 and 0 <= memory_free_share() <= 1


@pytest.mark.parametrize(
    ("groups", "mounts", "files", "free"),
    [
        ("0::/", V2.format(top="/"), {"memory.max": "1000", "memory.current": "600"}, 0.4),
        # Caches of files can be given up.
        ("0::/", V2.format(top="/"), {
            "memory.max": "1000", "memory.current": "900", "memory.stat": "anon 5\ninactive_file 400\n",
        }, 0.5),
        ("0::/", V2.format(top="/"), {"memory.max": "max", "memory.current": "900"}, 1.0),
        ("0::/a/b", V2.format(top="/"), {
            "a/b/memory.max": "1000", "a/b/memory.current": "100", "a/memory.max": "2000", "a/memory.current": "1800",
        }, 0.1),
        ("4:memory:/", v1("memory"), {
            "memory/memory.limit_in_bytes": "1000", "memory/memory.usage_in_bytes": "500",
            "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 1\n",
        }, 0.501),
        ("4:memory:/", v1("memory"), {
            "memory/memory.limit_in_bytes": NO_LIMIT, "memory/memory.usage_in_bytes": "500",
        }, 1.0),
        ("0::/", V2.format(top="/"), {"memory.max": "1000", "memory.current": "1010"}, 0.0),
    ],
)  # fmt: skip
def test_the_fullest_level_says_how_much_memory_is_left(tmp_path, groups, mounts, files, free):
    assert memory_free_share(system(tmp_path, groups, mounts, files)) == pytest.approx(free)


@pytest.mark.parametrize(
    ("groups", "files", "waited_s"),
    [
        ("0::/a", {"a/cpu.pressure": "some avg10=1.50 avg60=0.20 avg300=0.10 total=2500000"}, 2.5),
        ("0::/a", {"cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 total=9"}, 7e-6),
        ("0::/a", {"a/cpu.pressure": "some total=1000000", "cpu.pressure": "some total=9000000"}, 1.0),
        ("0::/a", {}, math.inf),
        ("0::/a", {"a/cpu.pressure": ""}, math.inf),
    ],
)
def test_how_long_a_group_waited_for_a_core_is_that_of_the_innermost_that_is_counted(tmp_path, groups, files, waited_s):
    assert cpu_pressure_s(system(tmp_path, groups, V2.format(top="/"), files)) == pytest.approx(waited_s)
