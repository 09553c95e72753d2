"""Loader `transformers`: a Hugging Face folder of an encoder or a classifier."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from serve_deployments.batches.batch_parts import Forward, Parts, Split, Tensors
from serve_deployments.models.context import ModelContext, ModelError, dtype_of
from serve_deployments.models.loader import Loader

TASKS = ("embedding", "classification")


def build(
    path: Path,
    context: ModelContext,
    *,
    task: Literal["embedding", "classification"] | None = None,
    max_length: int | None = None,
    cuda_graphs: bool = False,
    compile: str = "none",
) -> Callable[[list[str]], list[Any]]:
    """Builds a model from a Hugging Face folder, offline and from safetensors; payloads are texts.

    Code in the folder is never executed, whatever its configuration asks for.

    A batch is padded to its longest text. An embedding is the mean over a text's tokens, normalised to length 1 (as in
    sentence-transformers); a classification is label → probability.

    Args:
        path: the folder.
        context: precision and device.
        task: "embedding" or "classification"; None: "classification" if the folder holds a classifier, "embedding" for
            other encoders.
        max_length: number of tokens at which texts are truncated; None: the model's maximum.
        cuda_graphs: see `fast_batches`; lengths are padded too.
        compile: see `compiling.MODES`.
    """
    from serve_deployments.batches.fast_batches import fast_batches
    from serve_deployments.models.compiling import compiled

    asked = task or _task(path)
    if asked not in TASKS:
        raise ModelError(f"unknown task {asked!r}; use one of {', '.join(TASKS)}")
    model, tokenizer = _loaded(path, asked)
    model = model.to(device=context.device, dtype=dtype_of(context)).eval()
    positions = getattr(model.config, "max_position_embeddings", None) or tokenizer.model_max_length
    limit = max_length or min(tokenizer.model_max_length, positions)

    run, told = compiled(
        model, compile, device=context.device, cuda_graphs=cuda_graphs, in_stream=context.cuda_stream is not None
    )
    forward, split = _classification(run, model.config.id2label) if asked == "classification" else _embedding(run)

    def collate(texts: list[str]) -> Tensors:
        return dict(tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt"))

    filling = {"input_ids": tokenizer.pad_token_id or 0, "attention_mask": 0, "token_type_ids": 0}
    parts = Parts(collate, forward, split, filling, longest=limit)
    return fast_batches(parts, context.device, cuda_graphs=cuda_graphs, told=told, every_size=compile != "none")


def _loaded(path: Path, task: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder, offline.

    Raises:
        ModelError: the folder asks for code of its own to be executed.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # read when the library is imported
    from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

    kind = AutoModelForSequenceClassification if task == "classification" else AutoModel
    # Without `trust_remote_code`, the library would ask at the terminal.
    safely: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = kind.from_pretrained(path, use_safetensors=True, weights_only=True, **safely)
        return model, AutoTokenizer.from_pretrained(path, **safely)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        raise ModelError(
            f"{path} needs custom code from its folder, which is not executed; if you trust it, load it "
            "in your own builder (module:callable)"
        ) from None


def structure(
    path: Path,
    context: ModelContext,
    *,
    task: Literal["embedding", "classification"] | None = None,
    **rest: Any,
) -> Any:
    """The module of `build`, from the folder's configuration alone.

    Args:
        path: the folder.
        context: precision; the device is torch's default one.
        task: as in `build`.
        rest: arguments of `build` that change nothing of the module.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if (task or _task(path)) == "classification" else AutoModel
    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if config.dtype is None:  # the library notes the type that it finds in the weights
        config.dtype = _stored_dtype(path)
    return kind.from_config(config, trust_remote_code=False).to(dtype_of(context)).eval()


def _stored_dtype(path: Path) -> Any:
    """The type of the first floating-point tensor in the folder's weights; None if there is none."""
    import torch
    from safetensors import safe_open

    for file in sorted(path.glob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 - not a mapping
                found = weights.get_slice(name).get_dtype()
                if found in _FLOATING:
                    return getattr(torch, _FLOATING[found])
    return None


_FLOATING = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Name of a type in safetensors → torch's."""


def _classification(run: Callable[..., Any], labels: Mapping[int, str]) -> tuple[Forward, Split]:
    """The forward pass of a classifier, and its results: label → probability."""

    def forward(tokens: Tensors) -> Tensors:
        return {"shares": run(**tokens).logits.float().softmax(-1)}

    def split(made: Tensors) -> list[Any]:
        return [{labels[i]: share for i, share in enumerate(row)} for row in made["shares"].tolist()]

    return forward, split


def _embedding(run: Callable[..., Any]) -> tuple[Forward, Split]:
    """The forward pass of an encoder, and its results: the mean over the tokens, normalised to length 1."""
    from torch.nn.functional import normalize

    def forward(tokens: Tensors) -> Tensors:
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        mean = (run(**tokens).last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return {"rows": normalize(mean, dim=-1)}

    def split(made: Tensors) -> list[Any]:
        return list(made["rows"].numpy())

    return forward, split


def _task(path: Path) -> str:
    """The task according to the architecture in the folder's config.json.

    Raises:
        ModelError: the model generates text.
    """
    [name] = json.loads((path / "config.json").read_text(encoding="utf-8")).get("architectures") or ["encoder"]
    if name.endswith("ForSequenceClassification"):
        return "classification"
    if name.endswith(("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")):
        raise ModelError(f"{path} generates text ({name}), which needs your own builder (module:callable)")
    return "embedding"


def _check(path: Path) -> None:
    if not (path / "config.json").is_file() or not any(path.glob("*.safetensors")):
        raise ModelError(
            f"loader 'transformers' needs config.json and *.safetensors in {path}; at least one is missing"
        )


LOADER = Loader(
    name="transformers",
    needs=("torch", "transformers"),
    remedy="pip install raytune-infer[transformers]",
    guesses=lambda path: (path / "config.json").is_file(),
    check=_check,
    build=build,
    structure=structure,
)
