"""How far two runs of the same model may differ by floating-point rounding alone, such as in batches of another size.

The order in which a sum is taken changes its last digits, and a batch of another size takes sums in another order.
A rounding has a relative error of at most the unit roundoff u of its number format. Errors of n roundings in a row
grow as the square root of n times u, with high probability (Higham & Mary, A New Approach to Probabilistic Rounding
Error Analysis, SIAM J. Sci. Comput. 41, 2019). Sums are accumulated in float32, also where weights and intermediate
results are of 16 bits, each of which is rounded once more when it is stored (Blanchard, Higham, Lopez, Mary & Pranesh,
Mixed Precision Block Fused Multiply-Add, SIAM J. Sci. Comput. 42, 2020). So

    allowed = sqrt(steps) * u_stored + sqrt(steps * terms) * u_float32

The bound is for each part of an answer, such as an array, relative to its norm. A single number near 0 is often a
difference of larger ones, so it is relative at least to what this part usually is (`usual_norms`).
On all-MiniLM-L6-v2 in float32, batches of 32 instead of 1 differ by at most 1.4e-6, bfloat16 by 1.4e-2; allowed are
5.8e-5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

UNIT_ROUNDOFF: Mapping[str, float] = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Number format → unit roundoff, half the distance from 1 to the next number (IEEE 754; bfloat16 has 8 bits)."""

STEPS = 64
"""Results that are stored one after another. Of Llama 3 8B: two for each of its 32 layers (Llama Team, The Llama 3 Herd
of Models, 2024, table 3). Smaller models differ by less, as batches of another size show; larger ones by a little more,
as only the root of the number counts."""

TERMS = 14_336
"""Terms of the longest sum: the feed-forward dimension of the same model."""


def allowed_error(precision: str) -> float:
    """Return the relative difference of two answers that rounding explains.

    Args:
        precision: number format in which the reference computes; float32 for names that are not known.
    """
    stored = UNIT_ROUNDOFF.get(precision, UNIT_ROUNDOFF["float32"])
    return math.sqrt(STEPS) * stored + math.sqrt(STEPS * TERMS) * UNIT_ROUNDOFF["float32"]
