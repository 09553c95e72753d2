"""Out of memory, by all the words in which libraries say it, and by no others."""

import errno

import numpy as np
import onnxruntime
import pytest
import torch

from serve_deployments.endpoint import DescribedError, first_line, is_out_of_memory, says_out_of_memory


def accelerator_error(words):
    """Torch's error of a CUDA call, as which also memory that its own allocator did not ask for runs out."""
    return torch.AcceleratorError(words)


class OfOnnxRuntime(Exception):
    """As ONNX Runtime's since 1.22: it derives from Exception alone."""


OfOnnxRuntime.__module__ = "onnxruntime.capi.onnxruntime_pybind11_state"

ALLOCATE_RAW = (
    "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Conv node. Name:'fc1' "
    "Status Message: /onnxruntime_src/onnxruntime/core/framework/bfc_arena.cc:376 void* "
    "onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) "
)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of …"),
        accelerator_error(
            "CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs.nvidia.com/cuda/"
        ),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 1024.00 MiB (GPU 0; 15.90 GiB total capacity)"),
        RuntimeError("cuda runtime error (2) : out of memory at THCCachingHostAllocator.cpp:278"),
        RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cusparse error: CUSPARSE_STATUS_ALLOC_FAILED"),
        RuntimeError("cuSOLVER error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you …"),
        OfOnnxRuntime(f"{ALLOCATE_RAW}Failed to allocate memory for requested buffer of size 8388608000"),
        OfOnnxRuntime(f"{ALLOCATE_RAW}Available memory of 5513472 is smaller than requested bytes of 20751872"),
        OfOnnxRuntime("CUDA failure 2: out of memory ; GPU=0 ; hostname=n ; file=cuda_allocator.cc ; line=47"),
        OfOnnxRuntime("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0 ; hostname=n"),
        OfOnnxRuntime("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Exception during initialization: std::bad_alloc"),
        RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."),
        RuntimeError("RESOURCE_EXHAUSTED: Failed to allocate request for 2.00GiB (2147483648B) on device ordinal 0"),
        RuntimeError(
            'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":838, please report a '
            "bug to PyTorch. "
        ),
        RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
        RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"),
        RuntimeError("cudaErrorMemoryAllocation: out of memory"),
        RuntimeError("allocating 5120.00 MiB on device 0: cudaMalloc failed: out of memory"),
        RuntimeError("cuMemAlloc failed: out of memory"),
        RuntimeError("CUDA failed with error out of memory"),
        RuntimeError("IExecutionContext::enqueueV3: Error Code 2: OutOfMemory (Requested size was 2147483648 bytes.)"),
        RuntimeError("[defaultAllocator.cpp::allocate::31] Error Code 1: Cuda Runtime (out of memory)"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        DescribedError("PanicException: CUDA error: out of memory"),
    ],
    ids=lambda error: str(error)[:60],
)
def test_what_means_out_of_memory(error):
    assert says_out_of_memory(error) and is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory"),  # a model's own words
        KeyError("CUDA out of memory"),
        RuntimeError("the text is longer than the memory of this model"),
        RuntimeError("ran out of memory cells"),
        RuntimeError("the cuda tenant pool of this customer is out of memory budget"),
        RuntimeError("no CUDA stream: the queue is out of memory slots"),
        RuntimeError("RESOURCE_EXHAUSTED: Received message larger than max (5242880 vs. 4194304)"),
        RuntimeError('handle_ INTERNAL ASSERT FAILED at "../c10/cuda/driver_api.cpp":15, please report a bug'),
        accelerator_error("CUDA error: an illegal memory access was encountered"),
        accelerator_error("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: unspecified launch failure\nsee the page about out of memory"),
        OfOnnxRuntime("[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Got invalid dimensions for input"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("CUDA out of memory"),
    ],
    ids=lambda error: str(error)[:60],
)
def test_what_does_not(error):
    assert not says_out_of_memory(error) and not is_out_of_memory(error)


def test_the_libraries_that_are_here_are_understood():
    """Their own errors, not ours in their names."""
    with pytest.raises(RuntimeError) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**60, dtype=np.uint8)
    assert is_out_of_memory(of_torch.value) and is_out_of_memory(of_numpy.value)
    refused = onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument
    assert type(refused("x")).__module__.startswith("onnxruntime.") and not is_out_of_memory(refused("x"))


def test_an_error_that_was_raised_from_one_counts_and_keeps_its_own_words():
    try:
        try:
            raise torch.OutOfMemoryError("CUDA out of memory")
        except RuntimeError as error:
            raise ValueError("this image is too large") from error
    except ValueError as error:
        assert is_out_of_memory(error) and not says_out_of_memory(error)
        assert first_line(error) == "ValueError: this image is too large"


def raised(act):
    with pytest.raises((Exception, BaseExceptionGroup)) as caught:
        act()
    return caught.value


def while_handling():
    try:
        raise MemoryError
    except MemoryError:
        raise KeyError("another one, while the first was handled")  # noqa: B904


def hidden():
    try:
        raise MemoryError
    except MemoryError:
        raise KeyError("nothing to do with the first") from None


def test_one_that_was_raised_while_a_lack_was_handled_counts_unless_its_author_has_hidden_that():
    assert is_out_of_memory(raised(while_handling)) and not is_out_of_memory(raised(hidden))


def test_a_group_is_a_lack_of_memory_if_one_of_its_members_is():
    lack, other = raised(while_handling), ValueError("a payload")
    assert is_out_of_memory(ExceptionGroup("tasks", [other, ExceptionGroup("more", [lack])]))
    assert not is_out_of_memory(ExceptionGroup("tasks", [other, raised(hidden)]))


def test_errors_that_go_in_a_circle_or_cannot_be_shown_are_looked_at_once():
    class Unspeakable(RuntimeError):
        def __str__(self):
            raise KeyError("words")

    one, other = RuntimeError("one"), Unspeakable()
    one.__cause__, other.__cause__ = other, one
    assert not is_out_of_memory(one)
