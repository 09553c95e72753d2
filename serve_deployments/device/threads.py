"""The number of threads that compute one operation: set in torch and in the libraries of numpy, and read back."""

from __future__ import annotations

import threadpoolctl

from serve_deployments.enforcement import Enforcement


def set_threads(count: int) -> None:
    """Sets the number of threads of torch, OpenBLAS, MKL, BLIS and OpenMP, of those that are loaded.

    OpenMP's number is that of the calling thread, and of those that it starts.
    """
    import torch

    torch.set_num_threads(count)
    threadpoolctl.threadpool_limits(count)


def enforced_threads(count: int, *, processes: int = 0) -> Enforcement:
    """Whether torch and the libraries of numpy now have the number of threads that was set, in the calling thread.

    Args:
        count: the number that was set.
        processes: number of other processes that the model computes in, whose threads cannot be set from here.
    """
    import torch

    found = torch.get_num_threads()
    pools = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    if found == count:
        found = max((threads for threads in pools if threads > count), default=count)  # fewer: the library's own most
    if found != count:
        return Enforcement("threads", str(count), False, f"the model set {found}")
    if processes:
        how = "the model computes in other processes, which got OMP_NUM_THREADS and may set their own"
        return Enforcement("threads", str(count), False, how)
    return Enforcement("threads", str(count), True, "torch.set_num_threads and threadpoolctl")
