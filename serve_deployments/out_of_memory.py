"""Tells exceptions that mean "out of memory" from others, by all the words in which libraries say it."""

from __future__ import annotations

import errno
import re

_TYPES = ("OutOfMemoryError", "OutOfMemory", "ResourceExhaustedError")
"""Names of exceptions that mean nothing else: torch's, CuPy's, ours (a trial's), TensorFlow's."""

_WORDS = re.compile(
    "|".join(
        (
            # torch: CUDAException.cpp, "CUDA error: out of memory" (an AcceleratorError), also "CUDA driver error: …";
            # older "CUDA out of memory. …"; ONNX Runtime: cuda_call.cc, "CUDA failure 2: out of memory ; GPU=0 …"
            r"\b(CUDA|cuda|HIP|hip|XPU|MPS)\b[^\n]{0,60}\bout of memory\b",
            # cuBLAS, cuDNN 8 and 9, cuSPARSE, cuSOLVER, cuFFT and their HIP twins, by torch and by ONNX Runtime
            r"\b(CU|HIP)[A-Z]+_[A-Z_]*ALLOC(ATION)?_FAILED\b",
            # torch: c10/core/impl/alloc_cpu.cpp
            r"\bDefaultCPUAllocator: (can't allocate memory|not enough memory)",
            # ONNX Runtime: bfc_arena.cc, beyond the device's memory and beyond the arena's limit
            r"\bFailed to allocate memory for requested buffer of size\b",
            r"\bAvailable memory of \d+ is smaller than requested bytes of\b",
            # C++ without words of its own
            r"\bstd::bad_alloc\b|\bbad allocation\b",
            # XLA
            r"\bRESOURCE_EXHAUSTED: Out of memory\b",
        )
    )
)


def says_out_of_memory(error: BaseException) -> bool:
    """Whether an exception itself, by its type or its words, means that a device or the machine ran out of memory.

    Words count only where a library says them: in a RuntimeError, as which torch raises all that comes from a GPU's
    libraries, and in the exceptions of ONNX Runtime, of which some derive from nothing but Exception.
    """
    if isinstance(error, MemoryError) or type(error).__name__ in _TYPES:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_a_library = isinstance(error, RuntimeError) or type(error).__module__.partition(".")[0] == "onnxruntime"
    return of_a_library and _WORDS.search(_text(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device or the machine ran out of memory, or was raised from one that does."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if says_out_of_memory(link):
            return True
        seen.add(id(link))
        link = link.__cause__
    return False


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # a `__str__` of the user's
        return ""
