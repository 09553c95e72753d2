"""Readers of weights: of those that are no code (transformers, onnx), and of those that may be (pt2, torchscript)."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from serve_deployments.endpoint import Payload
from serve_deployments.models.context import PRECISIONS, ModelContext, ModelError
from serve_deployments.models.loader import Loader
from serve_deployments.models.stacked import of_stacked, stacked

_AS_EXPORTED = ("float32",)  # the file fixes the precision; what it was exported in is what "float32" stands for
TASKS = ("embedding", "classification")


def transformers(
    path: Path,
    context: ModelContext,
    *,
    task: Literal["embedding", "classification"] | None = None,
    max_length: int | None = None,
    cuda_graphs: bool = False,
    compile: str = "none",
) -> Callable[[list[str]], list[Any]]:
    """A Hugging Face folder, offline and from safetensors; its payloads are texts.

    Code that the folder brings along is never executed, whatever its configuration asks for.

    A batch is padded to its longest text. An embedding is the mean over a text's tokens, of length 1 (as in
    sentence-transformers); a classification is label → probability.

    Args:
        path: the folder.
        context: precision and device.
        task: None: "classification" if the folder holds a classifier, "embedding" for other encoders.
        max_length: tokens at which texts are cut; None: as many as the model takes.
        cuda_graphs: see `fast_batches`; lengths are filled up too.
        compile: see `compiling.MODES`.
    """
    import torch

    from serve_deployments.batches.batch_parts import Parts, Tensors
    from serve_deployments.batches.fast_batches import fast_batches
    from serve_deployments.models.compiling import compiled

    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    asked = task or _task(path)
    if asked not in TASKS:
        raise ModelError(f"there is no task {asked!r}; there are {', '.join(TASKS)}")
    kind = AutoModelForSequenceClassification if asked == "classification" else AutoModel
    dtype = _dtype(context)
    # Left out, `trust_remote_code` would ask whoever sits at the terminal.
    safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = kind.from_pretrained(path, use_safetensors=True, weights_only=True, **safely)
        tokenizer = AutoTokenizer.from_pretrained(path, **safely)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ModelError(
            f"{path} works only with the code that it brings along, which is not executed; if you trust it, load it "
            "in a builder of yours: module:callable"
        ) from None
    model = model.to(device=context.device, dtype=dtype).eval()
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    limit = max_length or min(tokenizer.model_max_length, positions)

    run, told = compiled(model, compile, device=context.device, cuda_graphs=cuda_graphs)

    def collate(texts: list[str]) -> Tensors:
        return dict(tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"))

    def forward(tokens: Tensors) -> Tensors:
        output = run(**tokens)
        if asked == "classification":
            return {"shares": output.logits.float().softmax(-1)}
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (output.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return {"rows": torch.nn.functional.normalize(mean, dim=-1)}

    def split(made: Tensors) -> list[Any]:
        if asked == "classification":
            return [{model.config.id2label[i]: share for i, share in enumerate(row)} for row in made["shares"].tolist()]
        return list(made["rows"].numpy())

    filling = {"input_ids": tokenizer.pad_token_id or 0, "attention_mask": 0, "token_type_ids": 0}
    parts = Parts(collate, forward, split, filling, longest=limit)
    return fast_batches(parts, context.device, cuda_graphs=cuda_graphs, told=told, every_size=compile != "none")


def torchscript(
    path: Path, context: ModelContext, *, cuda_graphs: bool = False
) -> Callable[[list[Payload]], list[Any]]:
    """A TorchScript file, which is a program; its payloads are arrays of one shape.

    About `cuda_graphs` see `fast_batches`.
    """
    import torch

    dtype = _dtype(context)
    with warnings.catch_warnings():
        # Torch wants new files in another format; to read an old one there is still no other way.
        warnings.simplefilter("ignore", DeprecationWarning)
        model = torch.jit.load(path, map_location=context.device).to(dtype).eval()
    return of_stacked(model, dtype, context.device, cuda_graphs=cuda_graphs)


def pt2(
    path: Path, context: ModelContext, *, cuda_graphs: bool = False, compile: str = "none"
) -> Callable[[list[Payload]], list[Any]]:
    """A file of `torch.export.save` whose first dimension is dynamic; its payloads are arrays of one shape.

    Torch reads it with pickle, and warns in its documentation of files that one does not trust. About `cuda_graphs`
    see `fast_batches`, about `compile` see `compiling.MODES`.
    """
    import torch

    from serve_deployments.models.compiling import compiled

    _needs_float32("pt2", context)
    module = torch.export.load(path).module().to(context.device)
    model, told = compiled(module, compile, device=context.device, cuda_graphs=cuda_graphs)
    return of_stacked(
        model, torch.float32, context.device, cuda_graphs=cuda_graphs, told=told, every_size=compile != "none"
    )


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
    missing = ModelError(f"onnxruntime has no {provider} here; pip install onnxruntime-gpu on the GPU nodes")
    if provider not in onnxruntime.get_available_providers():
        raise missing
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=[(provider, limits)])
    except MemoryError:
        raise
    except Exception as error:  # onnxruntime's own, which have no other base
        raise ModelError(f"onnxruntime cannot read {path}: {error}; export the model again") from error
    if provider not in session.get_providers():  # it is built in, but what it needs of the system is not there
        raise missing
    name = session.get_inputs()[0].name
    return lambda payloads: list(session.run(None, {name: stacked(payloads)})[0])


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
    [name] = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures") or ["encoder"]
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


def _check_archive(path: Path) -> None:
    _check_file(path)
    if not zipfile.is_zipfile(path):
        raise ModelError(
            f"{path} is no archive as torch writes them; a pickle is not read, save the model as safetensors"
        )


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
            guesses=lambda path: False,
            check=_check_archive,
            build=pt2,
            precisions=_AS_EXPORTED,
            executes=True,
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
            guesses=lambda path: False,
            check=_check_archive,
            build=torchscript,
            executes=True,
        ),
    )
}
