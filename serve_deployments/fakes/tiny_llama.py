"""A small Llama with random weights and a tokenizer of bytes, made in seconds: for trying engines, not for its answers.

`python -m serve_deployments.fakes.tiny_llama FOLDER` writes one.
"""

from __future__ import annotations

import argparse
from pathlib import Path

_SPREAD = 0.3
"""Standard deviation of the weights. Our choice: with the usual 0.02 of an untrained model, the last token decides
alone on the next; with this one, so does all that came before it."""


def write_tiny_llama(folder: Path, *, width: int = 64, layers: int = 2, positions: int = 512, seed: int = 0) -> Path:
    """Write the model, as transformers and vLLM read it.

    Args:
        folder: where to; it is made.
        width: numbers of each token inside the model; a multiple of 16.
        layers: number of layers.
        positions: most tokens of a sequence.
        seed: of the weights.

    Returns:
        The folder.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"</s>": 0, **{letter: number for number, letter in enumerate(letters, 1)}}
    bytes_only = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    bytes_only.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_only.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_only, eos_token="</s>", pad_token="</s>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=positions, bos_token_id=0, eos_token_id=0,
        pad_token_id=0, initializer_range=_SPREAD,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    words = parser.parse_args()
    print(write_tiny_llama(words.folder, width=words.width, layers=words.layers))
