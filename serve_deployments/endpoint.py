"""The interface between the server that is measured and the load test that measures it, and the words of a failure."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from serve_deployments.environment.secrets import hidden
from serve_deployments.resources.usage import Usage

Payload = Any
"""Content of one request, in the form that the model takes: a text, an array, …"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says, its timing and size, known once its last part has arrived, which is when `infer` returns.

    Args:
        first_after_s: seconds from the call to the first part; NaN if the answer was not streamed.
        parts: number of parts that the answer came in.
        size_in: size of the request in the endpoint's unit, such as tokens; NaN where the endpoint does not count.
        size_out: size of the answer in the same unit; NaN likewise.
        content: what the model answered; a load test ignores it.
        gaps_s: seconds between its parts, in order; a packed array takes the least memory. Empty where not known.
    """

    first_after_s: float = math.nan
    parts: int = 1
    size_in: float = math.nan
    size_out: float = math.nan
    content: Any = None
    gaps_s: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a model that streams may yield last: no part of its answer, but how large request and answer were.

    Args:
        size_in: size of the request in the model's unit, such as tokens.
        size_out: size of the answer.
    """

    size_in: float = math.nan
    size_out: float = math.nan


WHOLE = Answer()
"""An answer in one part, of which only the time counts."""

TURNS = 16
"""How many times as long as the longest request so far one waits: for an answer that may have been lost, and for all
levels of a search. Our choice, by the search: four requests from one client, so that a queue of such batches can be
simulated; as many full batches; and the rest at the rate. A peak needs seven for the interval of its first level."""

LONGEST_WORDS = 600
"""Number of characters at which the words of a failure are cut. Our choice: a paragraph; the sentences of gRPC, CUDA
and compilers that we have seen are shorter, and a table or a database row with more would hide what is beside it."""


_LACKS = ("OutOfMemoryError", "OutOfMemory", "ResourceExhaustedError")
"""Names of exceptions that mean nothing else: torch's, CuPy's, ours (a trial's), TensorFlow's."""

_LACK_WORDS = re.compile(
    "|".join(
        (
            # torch: "CUDA out of memory. …", "MPS backend out of memory …"; TensorRT: "Cuda Runtime (out of memory)"
            r"\b(?i:CUDA|HIP|XPU|MPS)( (?i:runtime|backend))? \(?out of memory\b",
            # torch: CUDAException.cpp, "CUDA error: out of memory" (an AcceleratorError), also "CUDA driver error: …";
            # ONNX Runtime: cuda_call.cc, "CUDA failure 2: out of memory ; GPU=0 …"; CTranslate2: "CUDA failed with
            # error out of memory". An error of CUDA comes before the words: a model's own sentence is none.
            r"\b(?i:CUDA|HIP|XPU|MPS)( \w+)? ([Ee]rror|failure|failed)\b"
            r"[^\n]{0,60}([:('] ?|with error )out of memory\b",
            # calls of the runtime and of the driver by name, and their codes
            r"\b(cu|cuda|hip)[A-Z]\w* failed: out of memory\b",
            r"\b(CUDA|HIP)_ERROR_OUT_OF_MEMORY\b|\b(cudaErrorMemoryAllocation|hipErrorOutOfMemory)\b",
            # cuBLAS, cuDNN 8 and 9, cuSPARSE, cuSOLVER, cuFFT and their HIP twins, by torch and by ONNX Runtime
            r"\b(CU|HIP)[A-Z]+_[A-Z_]*ALLOC(ATION)?_FAILED\b",
            # torch: CUDACachingAllocator.cpp, which asks NVML as it composes the words of a lack of memory, and fails
            # where NVML does not answer (a slice by MIG in a container)
            r"\bNVML_SUCCESS == r INTERNAL ASSERT FAILED\b[^\n]*\bCUDACachingAllocator\b",
            # torch: c10/core/impl/alloc_cpu.cpp
            r"\bDefaultCPUAllocator: (can't allocate memory|not enough memory)",
            # ONNX Runtime: bfc_arena.cc, beyond the device's memory and beyond the arena's limit
            r"\bFailed to allocate memory for requested buffer of size\b",
            r"\bAvailable memory of \d+ is smaller than requested bytes of\b",
            # TensorRT: "Error Code 2: OutOfMemory (Requested size was … bytes.)"
            r"\bError Code \d+: OutOfMemory\b",
            # C++ without words of its own
            r"\bstd::bad_alloc\b|\bbad allocation\b",
            # XLA, TensorFlow; gRPC says RESOURCE_EXHAUSTED of messages that are too long
            r"\bRESOURCE_EXHAUSTED: (Out of memory|OOM when|Failed to allocate)\b",
        )
    )
)


class DescribedError(RuntimeError):
    """A failure whose message is its whole description, with the type of the exception that it stands for.

    It stands for exceptions that cannot go where the failure is told: to another process, which may lack their class,
    or through asyncio, which ends its loop at some of them and never delivers others.
    """


def says_out_of_memory(error: BaseException) -> bool:
    """Whether an exception itself, by its type or its words, means that a device or the machine ran out of memory.

    Words count only where a library says them: in a RuntimeError, as which torch raises all that comes from a GPU's
    libraries, and in the exceptions of ONNX Runtime, of which some derive from nothing but Exception.
    """
    if isinstance(error, MemoryError) or type(error).__name__ in _LACKS:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    of_a_library = isinstance(error, RuntimeError) or type(error).__module__.partition(".")[0] == "onnxruntime"
    return of_a_library and _LACK_WORDS.search(_message(error)) is not None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that a device or the machine ran out of memory, or came about by one that does."""
    return any(says_out_of_memory(each) for each in origins(error))


def origins(error: BaseException, *, suppressed: bool = False) -> Iterator[BaseException]:
    """An exception, what it was raised from or while handling, and the members of groups; each once.

    Args:
        error: the exception.
        suppressed: whether also what `raise … from` has hidden.
    """
    seen: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        context = None if each.__suppress_context__ and not suppressed else each.__context__
        left += [other for other in (each.__cause__, context) if other is not None]
        left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def first_line(error: BaseException) -> str:
    """The words of a failure: the first line of its message, cut after `LONGEST_WORDS`.

    Secrets that a model was given are not in them. The exception's type comes first, unless it is an out-of-memory
    error or the message names it already. A line that ends in a colon is joined with the next one, which it announces.
    """
    # Before the message is cut: of a secret of several lines the first alone would not be recognised.
    line, *rest = hidden(_message(error)).strip().splitlines() or [""]
    while rest and line.endswith(":"):
        line = f"{line} {rest.pop(0).strip()}"
    whole = isinstance(error, DescribedError) or says_out_of_memory(error)
    words = line if whole and line else f"{type(error).__name__}: {line}".removesuffix(": ")
    return words if len(words) <= LONGEST_WORDS else f"{words[: LONGEST_WORDS - 1]}…"


def _message(error: BaseException) -> str:
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    if callable(code) and callable(details):  # a failed call of gRPC, whose `str` is a dump in lines of its own
        return f"{getattr(code(), 'name', code())}: {details()}"
    try:
        return str(error)
    except Exception as broken:  # a `__str__` of the user's
        return f"(its message cannot be shown: {type(broken).__name__})"


class Endpoint(Protocol):
    """Something that answers requests: a Serve replica, or a fake."""

    async def infer(self, payload: Payload) -> Answer:
        """Sends one request and returns when the whole answer has arrived.

        A cancelled call should withdraw its request from the server's queue where the transport can: the queue of an
        overloaded level is abandoned, and requests that stay in it delay the next level.

        Raises:
            Exception: the request failed; whatever the type, it counts as one error.
        """
        ...

    async def usage(self) -> Usage | None:
        """The server's counters so far; None if it does not report any."""
        ...
