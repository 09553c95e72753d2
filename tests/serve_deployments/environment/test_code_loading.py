"""Which environment variables may have code loaded into a process."""

import pytest

from serve_deployments.environment.code_loading import loads_code


@pytest.mark.parametrize(
    "variable",
    [
        "LD_PRELOAD", "PYTHONPATH", "PATH", "CXX", "CC", "HOME", "HF_HOME", "HF_MODULES_CACHE", "CUDA_HOME",
        "CUDA_PATH", "TORCHINDUCTOR_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TRITON_CACHE_DIR", "NVTX_INJECTION64_PATH",
        "OPENSSL_CONF", "OPENSSL_MODULES", "NCCL_NET_PLUGIN", "VLLM_PLUGINS", "OMP_TOOL_LIBRARIES",
        "OF_NO_LIBRARY_THAT_WE_KNOW",
    ],
)  # fmt: skip
@pytest.mark.parametrize("value", ["/tmp/x.so", "x", "a:b", "1/x", "1\n", "trueish", "1 x"])
def test_a_variable_may_load_code_unless_it_is_known_not_to(variable, value):
    assert loads_code(variable, value) == (value != "1\n" or variable in ("LD_PRELOAD", "PYTHONPATH", "PATH"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OMP_NUM_THREADS", "4,2"), ("OMP_WAIT_POLICY", "active"), ("KMP_AFFINITY", "granularity=fine,compact,1,0"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"), ("TOKENIZERS_PARALLELISM", "false"), ("MODE", ""),
        ("ANY_NUMBER", "16"), ("ANY_NUMBER", "-0.5e-3"), ("ANY_SWITCH", "True"), ("ANY_SWITCH", "off"),
    ],
)  # fmt: skip
def test_numbers_switches_and_the_settings_of_threads_load_no_code(variable, value):
    assert not loads_code(variable, value)


@pytest.mark.parametrize("variable", ["LD_PRELOAD", "RAY_SERVE_X", "PYTHONPATH", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_some_load_code_by_any_value(variable):
    assert loads_code(variable, "1")
