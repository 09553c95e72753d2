"""Readers of weights that are not code: transformers, pt2, onnx; and TorchScript, which may be code."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from serve_deployments.endpoint import Payload

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16", "float16")
_AS_EXPORTED = ("float32",)  # the file fixes the precision; what it was exported in is what "float32" stands for
TASKS = ("embedding", "classification")


class ModelError(ValueError):
    """A model cannot be found, built or called; the message says what would help."""


@dataclass(frozen=True)
class ModelContext:
    """What a model may know of the replica that runs it.

    Args:
        precision: of weights and arithmetic, one of `PRECISIONS`. Torch has dropped its dynamic int8.
        device: "cpu" or "cuda".
        cpu_cores: cores it may use.
        threads: threads for one operation.
        gpu_type: name of the GPU's type; None without one.
        gpu_share: share of that GPU.
        gpu_memory_gib: memory it may use there.
    """

    precision: str = "float32"
    device: str = "cpu"
    cpu_cores: int = 1
    threads: int = 1
    gpu_type: str | None = None
    gpu_share: float = 0.0
    gpu_memory_gib: float | None = None


@dataclass(frozen=True)
class Loader:
    """One way to read weights.

    Args:
        name: what users call it.
        needs: modules that must be installed.
        remedy: how to install them.
        guesses: the path is certainly of this kind, and safe to read.
        check: raises `ModelError` if what is at the path cannot be read.
        build: path, context and the user's arguments → a function from payloads to as many results.
        precisions: that it can load weights in.
        consumes: fields of `ModelContext` that the built model depends on.
    """

    name: str
    needs: tuple[str, ...]
    remedy: str
    guesses: Callable[[Path], bool]
    check: Callable[[Path], None]
    build: Callable[..., Callable[[list[Payload]], list[Any]]]
    precisions: tuple[str, ...] = PRECISIONS
    consumes: frozenset[str] = frozenset({"precision", "device"})


def transformers(
    path: Path,
    context: ModelContext,
    *,
    task: Literal["embedding", "classification"] | None = None,
    max_length: int | None = None,
) -> Callable[[list[str]], list[Any]]:
    """A Hugging Face folder, offline and from safetensors; its payloads are texts.

    A batch is padded to its longest text. An embedding is the mean over a text's tokens, of length 1 (as in
    sentence-transformers); a classification is label → probability.

    Args:
        path: the folder.
        context: precision and device.
        task: None: "classification" if the folder holds a classifier, "embedding" for other encoders.
        max_length: tokens at which texts are cut; None: as many as the model takes.
    """
    import torch

    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    asked = task or _task(path)
    if asked not in TASKS:
        raise ModelError(f"there is no task {asked!r}; there are {', '.join(TASKS)}")
    kind = AutoModelForSequenceClassification if asked == "classification" else AutoModel
    dtype = _dtype(context)
    model = kind.from_pretrained(path, local_files_only=True, use_safetensors=True)
    model = model.to(device=context.device, dtype=dtype).eval()
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    limit = max_length or min(tokenizer.model_max_length, positions)

    @torch.inference_mode()
    def answer(texts: list[str]) -> list[Any]:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
        tokens = tokens.to(context.device)
        output = model(**tokens)
        if asked == "classification":
            shares = output.logits.float().softmax(-1).tolist()
            return [{model.config.id2label[i]: share for i, share in enumerate(row)} for row in shares]
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return list(torch.nn.functional.normalize(mean, dim=-1).cpu().numpy())

    return answer


def torchscript(path: Path, context: ModelContext) -> Callable[[list[Payload]], list[Any]]:
    """A TorchScript file; its payloads are arrays of one shape."""
    import torch

    log.warning("%s is TorchScript, which may execute code: load it only if you trust where it comes from", path)
    dtype = _dtype(context)
    with warnings.catch_warnings():
        # Torch wants new files in another format; to read an old one there is still no other way.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(path, map_location=context.device).to(dtype).eval()
    return _of_tensors(model, context)


def pt2(path: Path, context: ModelContext) -> Callable[[list[Payload]], list[Any]]:
    """A file of `torch.export.save` whose first dimension is dynamic; its payloads are arrays of one shape."""
    import torch

    _needs_float32("pt2", context)
    return _of_tensors(torch.export.load(path).module().to(context.device), context)


def onnx(path: Path, context: ModelContext) -> Callable[[list[Payload]], list[Any]]:
    """An ONNX file with one input whose first dimension is dynamic; its payloads are arrays of one shape."""
    import onnxruntime  # type: ignore[import-not-found,unused-ignore]

    _needs_float32("onnx", context)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = context.threads
    provider, limits = "CPUExecutionProvider", {}
    if context.device.startswith("cuda"):
        provider = "CUDAExecutionProvider"  # has an allocator of its own, which torch's cap does not reach
        if context.gpu_memory_gib is not None:
            limits = {"gpu_mem_limit": str(int(context.gpu_memory_gib * 2**30))}
    session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, limits)])
    if provider not in session.get_providers():
        raise ModelError(f"onnxruntime has no {provider} here; pip install onnxruntime-gpu on the GPU nodes")
    name = session.get_inputs()[0].name
    return lambda payloads: list(session.run(None, {name: _stack(payloads)})[0])


def _of_tensors(model: Any, context: ModelContext) -> Callable[[list[Payload]], list[Any]]:
    import torch

    @torch.inference_mode()
    def answer(payloads: list[Payload]) -> list[Any]:
        batch = torch.from_numpy(_stack(payloads)).to(context.device)
        output = model(batch.to(_dtype(context)) if batch.is_floating_point() else batch)
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        return list((tensor.float() if tensor.dtype == torch.bfloat16 else tensor).cpu().numpy())

    return answer


def _stack(payloads: list[Payload]) -> np.ndarray:
    """`[batch, ...]`; numbers of Python become what models are trained in, not double precision."""
    batch = np.stack([np.asarray(payload) for payload in payloads])
    return batch.astype(np.float32) if batch.dtype == np.float64 else batch


def _dtype(context: ModelContext) -> Any:
    import torch

    if context.precision not in PRECISIONS:
        raise ModelError(f"precision {context.precision!r} is not one of {', '.join(PRECISIONS)}")
    return getattr(torch, context.precision)


def _needs_float32(name: str, context: ModelContext) -> None:
    if context.precision != "float32":
        raise ModelError(
            f"precision {context.precision!r} asked for, but a {name} file keeps the one it was exported in; "
            "export it in that precision, or search over float32 only"
        )


def _task(path: Path) -> str:
    """By what the folder's config says the weights are for."""
    [name] = json.loads((path / "config.json").read_text()).get("architectures") or ["encoder"]
    if name.endswith("ForSequenceClassification"):
        return "classification"
    if name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
        raise ModelError(f"{path} generates text ({name}), which needs a builder of yours: module:callable")
    return "embedding"


def _check_folder(path: Path) -> None:
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise ModelError(f"loader 'transformers' needs a folder with config.json and *.safetensors, {path} has not")


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise ModelError(f"{path} is a folder, this loader reads a file")


LOADERS: dict[str, Loader] = {
    loader.name: loader
    for loader in (
        Loader(
            name="transformers",
            needs=("torch", "transformers"),
            remedy="pip install raytune-infer[transformers]",
            guesses=lambda path: (path / "config.json").is_file(),
            check=_check_folder,
            build=transformers,
        ),
        Loader(
            name="pt2",
            needs=("torch",),
            remedy="pip install torch",
            guesses=lambda path: path.suffix == ".pt2",
            check=_check_file,
            build=pt2,
            precisions=_AS_EXPORTED,
        ),
        Loader(
            name="onnx",
            needs=("onnxruntime",),
            remedy="pip install raytune-infer[onnx]",
            guesses=lambda path: path.suffix == ".onnx",
            check=_check_file,
            build=onnx,
            precisions=_AS_EXPORTED,
            consumes=frozenset({"precision", "device", "threads", "gpu_memory_gib"}),
        ),
        Loader(
            name="torchscript",
            needs=("torch",),
            remedy="pip install torch",
            guesses=lambda path: False,  # reading it may execute code: only where asked for by name
            check=_check_file,
            build=torchscript,
        ),
    )
}
