"""Hardware profiles of 42 models in 15 families, as many of each family as the Morphling paper (SoCC 2021) has.

The paper does not list its models, so the members are our choice: the sizes that each family's own paper reports.
Parameters and multiply-adds come from there (a multiply-add is two FLOP). Figures that the papers do not report
follow rules that are the same for all, so that models differ by their architecture and not by our taste:

- traffic: every layer output is written and read twice, once more than in fused code, since normalisation
  and activation are kernels of their own in an eager framework.
- activations held: for convolutions half of all layer outputs (the first layers dominate, with cuDNN's workspace
  beside them); for transformers two layers' worth, since inference frees the others; for word models the word vectors
  and the outputs of the dense layers.
- text is 128 tokens, as in ELECTRA's table of FLOPs. Transformers: 2 N n + 4 L n^2 d FLOP with N = 12 L d^2
  parameters in the blocks (Kaplan et al. 2020, Table 1); outputs 14 n d + 2 n^2 d / 64 numbers a layer.
- CPU per item: 5 ms to decode and resize a photograph, 0.5 ms to tokenise a text of 128 tokens; round figures for
  one core.
"""

import difflib

import numpy as np

from cluster.emulated.roofline import ModelProfile

FLOAT32_BYTES = 4
MOVES = 4  # two writes and two reads of every layer output
TOKENS = 128
IMAGE_CPU_S = 5e-3
TEXT_CPU_S = 5e-4
KERNELS_PER_CONV = 3  # convolution, normalisation, activation
KERNELS_PER_BLOCK = 15  # 6 products, 2 batched products, softmax, 2 norms, 2 residuals, gelu, reshape


def _images(family: str, source: str, *models: tuple[str, float, float, float, int]) -> tuple[ModelProfile, ...]:
    """Profiles of image models, each given as name, parameters (1e6), multiply-adds (1e9), layer outputs (1e6), layers.

    Only layers with weights are counted.
    """
    return tuple(
        ModelProfile(
            name,
            family,
            2e9 * macs,
            params * 1e6 * FLOAT32_BYTES,
            0.5 * outputs * 1e6 * FLOAT32_BYTES,
            MOVES * outputs * 1e6 * FLOAT32_BYTES,
            KERNELS_PER_CONV * layers,
            IMAGE_CPU_S,
            source,
        )
        for name, params, macs, outputs, layers in models
    )


def _transformers(family: str, source: str, *models: tuple[str, float, int, int]) -> tuple[ModelProfile, ...]:
    """Profiles of transformers, each given as name, parameters (1e6), layers L, width d."""
    profiles = []
    for name, params, layers, width in models:
        flops = 2 * 12 * layers * width**2 * TOKENS + 4 * layers * TOKENS**2 * width
        layer_bytes = FLOAT32_BYTES * (14 * TOKENS * width + 2 * TOKENS**2 * width / 64)
        profiles.append(
            ModelProfile(
                name,
                family,
                flops,
                params * 1e6 * FLOAT32_BYTES,
                2 * layer_bytes,
                MOVES * layers * layer_bytes,
                KERNELS_PER_BLOCK * layers,
                TEXT_CPU_S,
                source,
            )
        )
    return tuple(profiles)


def _lookups(family: str, source: str, *models: tuple[str, float, int, int]) -> tuple[ModelProfile, ...]:
    """Profiles of models that average word vectors and apply dense layers d x d to the mean.

    Each is given as name, parameters (1e6), width d, dense layers.
    """
    profiles = []
    for name, params, width, layers in models:
        numbers = TOKENS * width + layers * width
        profiles.append(
            ModelProfile(
                name,
                family,
                TOKENS * width + 2.0 * layers * width**2,
                params * 1e6 * FLOAT32_BYTES,
                FLOAT32_BYTES * numbers,
                MOVES * FLOAT32_BYTES * numbers,
                3 + 2 * layers,
                TEXT_CPU_S,
                source,
            )
        )
    return tuple(profiles)


PROFILES: tuple[ModelProfile, ...] = (
    *_images(
        "ResNet",
        "He et al. 2016, Table 1; outputs: Radosavovic et al. 2020 (pycls model zoo)",
        ("resnet-18", 11.7, 1.8, 2.5, 18),
        ("resnet-34", 21.8, 3.6, 3.8, 34),
        ("resnet-50", 25.6, 3.8, 11.1, 50),
        ("resnet-101", 44.5, 7.6, 16.2, 101),
        ("resnet-152", 60.2, 11.3, 22.6, 152),
    ),
    *_images(
        "NASNet",
        "Zoph et al. 2018, Tables 2 and 3; outputs: ours, from the cells",
        ("nasnet-mobile", 5.3, 0.564, 7.0, 200),
        ("nasnet-large", 88.9, 23.8, 90.6, 290),
    ),
    *_images(
        "VGG",
        "Simonyan & Zisserman 2015, Table 2; multiply-adds: He et al. 2016",
        ("vgg-16", 138, 15.3, 13.6, 16),
        ("vgg-19", 144, 19.6, 14.9, 19),
    ),
    *_images(
        "Inception",
        "Szegedy et al. 2015 (v1), 2016 (v3: 5e9 multiply-adds, below 25e6 parameters)",
        ("inception-v1", 6.6, 1.5, 3.2, 58),
        ("inception-v3", 23.8, 5.0, 9.0, 95),
    ),
    *_images("DenseNet", "Huang et al. 2017, Table 1 and Figure 3", ("densenet-121", 8.0, 2.9, 6.9, 121)),
    *_images(
        "MobileNet",
        "Howard et al. 2017, Table 8; Sandler et al. 2018, Table 4",
        ("mobilenet-v1", 4.2, 0.569, 5.0, 28),
        ("mobilenet-v2", 3.4, 0.3, 6.7, 53),
    ),
    *_images(
        "EfficientNet",
        "Tan & Le 2019, Table 2; outputs: pytorch-image-models' results tables",
        ("efficientnet-b0", 5.3, 0.39, 6.8, 82),
        ("efficientnet-b1", 7.8, 0.70, 10.9, 116),
        ("efficientnet-b2", 9.2, 1.0, 13.8, 116),
        ("efficientnet-b3", 12, 1.8, 23.8, 131),
        ("efficientnet-b4", 19, 4.2, 49.5, 161),
        ("efficientnet-b5", 30, 9.9, 98.9, 195),
        ("efficientnet-b6", 43, 19, 167.4, 225),
    ),
    *_transformers("BERT", "Devlin et al. 2019", ("bert-base", 110, 12, 768), ("bert-large", 340, 24, 1024)),
    *_transformers(
        "ALBERT",
        "Lan et al. 2020, Table 1: layers share their weights",
        ("albert-base", 12, 12, 768),
        ("albert-large", 18, 24, 1024),
        ("albert-xlarge", 60, 24, 2048),
        ("albert-xxlarge", 235, 12, 4096),
    ),
    # A profile written by hand: two bidirectional LSTM layers run their 128 steps one after the other.
    ModelProfile(
        "elmo",
        "ELMo",
        2.6e10,
        96e6 * FLOAT32_BYTES,
        2 * TOKENS * 4096 * FLOAT32_BYTES,
        MOVES * 4 * TOKENS * 4 * 4096 * FLOAT32_BYTES,
        2 * 2 * TOKENS,
        TEXT_CPU_S,
        "Peters et al. 2018 (2 layers, 4096 units); FLOPs, parameters: Clark et al. 2020, Table 1",
    ),
    *_lookups(
        "NNLM",
        "Bengio et al. 2003; sizes of the public modules nnlm-en-dim50 and -dim128",
        ("nnlm-50", 48.2, 50, 1),
        ("nnlm-128", 124.6, 128, 1),
    ),
    *_transformers(
        "Small BERT",
        "Turc et al. 2019, Table 1",
        ("bert-tiny", 4.4, 2, 128),
        ("bert-mini", 11.3, 4, 256),
        ("bert-small", 29.1, 4, 512),
        ("bert-medium", 41.7, 8, 512),
    ),
    *_lookups(
        "Word2vec",
        "Mikolov et al. 2013; sizes of the public modules Wiki-words-250 and -500",
        ("word2vec-250", 252.3, 250, 0),
        ("word2vec-500", 504.7, 500, 0),
    ),
    *_transformers(
        "ELECTRA",
        "Clark et al. 2020, Table 1 and Table 6",
        ("electra-small", 14, 12, 256),
        ("electra-base", 110, 12, 768),
    ),
    *_lookups(
        "USE", "Cer et al. 2018, averaging network; size of the public module, version 4", ("use-dan", 256.8, 512, 4)
    ),
    *_transformers(
        "USE",
        "Cer et al. 2018; Yang et al. 2019; sizes of the public modules, version 3 to 5",
        ("use-transformer", 147.4, 6, 512),
        ("use-multilingual-transformer", 85.2, 6, 512),
    ),
    # Two convolutional layers of widths 1, 2, 3, 5 with 256 filters each over 512 and 1,024 channels.
    ModelProfile(
        "use-multilingual-cnn",
        "USE",
        2.0 * TOKENS * 11 * 256 * (512 + 1024),
        68.9e6 * FLOAT32_BYTES,
        TOKENS * (512 + 2 * 1024) * FLOAT32_BYTES,
        MOVES * TOKENS * (512 + 2 * 1024) * FLOAT32_BYTES,
        30,
        TEXT_CPU_S,
        "Yang et al. 2019; size of the public module, version 3; FLOPs: our count",
    ),
)

_BY_NAME = {entry.name: entry for entry in PROFILES}
_RANGED = ("flops", "weight_bytes", "activation_bytes", "traffic_bytes", "kernels", "cpu_s")


def profile(name: str) -> ModelProfile:
    """The profile of a model by name."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = difflib.get_close_matches(name.lower(), _BY_NAME, n=4, cutoff=0.4)
    raise ValueError(
        f"no profile {name!r}; {'closest are' if close else 'there are'} "
        f"{', '.join(close or _BY_NAME)}; use one of them or build a ModelProfile"
    )


def random_profiles(rng: np.random.Generator, n: int) -> tuple[ModelProfile, ...]:
    """Profiles of made-up models, for meta-training: each figure is log-uniform over its range in `PROFILES`.

    Figures are drawn independently and so cover combinations that no known model has. Only the memory held is limited
    to the traffic, since everything held must have been written.
    """
    figures = {}
    for name in _RANGED:
        values = [getattr(entry, name) for entry in PROFILES]
        figures[name] = np.exp(rng.uniform(np.log(min(values)), np.log(max(values)), size=n))
    figures["activation_bytes"] = np.minimum(figures["activation_bytes"], figures["traffic_bytes"])
    rows = [{name: float(values[i]) for name, values in figures.items()} for i in range(n)]
    return tuple(
        ModelProfile(name=f"random-{i}", family="random", source="random_profiles", **row) for i, row in enumerate(rows)
    )
