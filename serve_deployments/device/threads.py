"""The number of threads that compute one operation: set in torch and in the libraries of numpy, and read back."""

from __future__ import annotations

import threadpoolctl

from serve_deployments.resources.enforcement import Enforcement


def set_threads(count: int) -> None:
    """Sets the number of threads of torch, OpenBLAS, MKL, BLIS and OpenMP, of those that are loaded.

    OpenMP's number is that of the calling thread, and of those that it starts.
    """
    import torch

    torch.set_num_threads(count)
    _take_over()
    threadpoolctl.threadpool_limits(count)


def enforced_threads(count: int, *, processes: int = 0) -> Enforcement:
    """Whether torch and the libraries of numpy now have the number of threads that was set, in the calling thread.

    A library may have fewer than were set, as it was built for so many at most. So it is compared with what it has when
    the number is set once more; afterwards it has again what it was found with.

    Args:
        count: the number that was set.
        processes: number of other processes that the model computes in, whose threads cannot be set from here.
    """
    found = _by_library()
    _take_over()
    with threadpoolctl.threadpool_limits(count):
        wanted = {**_by_library(), "torch": count}
    if odd := [threads for library, threads in found.items() if threads != wanted.get(library, threads)]:
        return Enforcement("threads", str(count), False, f"the model set {odd[0]}")
    if processes:
        how = "the model computes in other processes, which got OMP_NUM_THREADS and may set their own"
        return Enforcement("threads", str(count), False, how)
    return Enforcement("threads", str(count), True, "torch.set_num_threads and threadpoolctl")


def _take_over() -> None:
    """From now on this thread can set the threads of OpenBLAS.

    They are the whole process's, and newer versions of threadpoolctl ignore all threads but the first that has set
    them, without a word: that may have been one of the model's.
    """
    clear = getattr(threadpoolctl.OpenBLASController, "clear_controlling_thread", None)  # none in older ones
    if clear is not None:
        clear(force=True)


def _by_library() -> dict[str, int]:
    """Number of threads of torch and of each library that is loaded, by its file."""
    import torch

    pools = {str(pool["filepath"]): int(pool["num_threads"]) for pool in threadpoolctl.threadpool_info()}
    return {"torch": torch.get_num_threads(), **pools}
