"""Environment variables that may have code loaded into a process, and those that are known not to."""

from __future__ import annotations

import re

_LOADING = frozenset({
    "PATH", "BASH_ENV", "ENV", "GCONV_PATH", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "VLLM_ALLOW_INSECURE_SERIALIZATION",
})  # fmt: skip
"""Variables that load code by any value: a path may be a number, and the last two let a file of weights run code."""

_HARMLESS = frozenset({
    "GOMP_SPINCOUNT", "KMP_AFFINITY", "KMP_BLOCKTIME", "KMP_LIBRARY", "OMP_DISPLAY_ENV", "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_SCHEDULE", "OMP_STACKSIZE", "OMP_WAIT_POLICY",
    "MKL_DYNAMIC", "MKL_ENABLE_INSTRUCTIONS", "MKL_NUM_THREADS", "MKL_THREADING_LAYER", "OPENBLAS_NUM_THREADS",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "ONEDNN_MAX_CPU_ISA",
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_MODULE_LOADING", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "NCCL_ALGO", "NCCL_PROTO", "RAYON_NUM_THREADS", "TOKENIZERS_PARALLELISM",
})  # fmt: skip
"""Variables that libraries read as numbers or words of their own, never as a path or the name of a module."""

_NUMBER_OR_SWITCH = re.compile(r"([+-]?\d+(\.\d*)?(e[+-]?\d+)?|true|false|on|off|yes|no)?", re.ASCII | re.IGNORECASE)


def loads_code(variable: str, value: str) -> bool:
    """Whether an environment variable may have code loaded or compiled: any that is not known to be harmless.

    Nobody can list the variables by which libraries find modules, plugins, compilers or caches of compiled code. So
    only a number, an on or off, or one of a few known variables is harmless, but for variables that load code by any
    value.
    """
    if variable in _LOADING or variable.startswith(("LD_", "DYLD_", "PYTHON", "RAY_")):
        return True
    return not (variable in _HARMLESS or _NUMBER_OR_SWITCH.fullmatch(value.strip()))
