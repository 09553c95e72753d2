"""A text classifier with LSTM layers."""

from __future__ import annotations

from torch import Tensor, nn

from benchmarks.planes.models.transformers import WORDS


class TextLstm(nn.Module):
    """A text classifier: two LSTM layers over words, and a dense layer on the last state."""

    def __init__(self, embedding: int = 256, hidden: int = 512, classes: int = 20) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS, embedding)
        self.lstm, self.head = nn.LSTM(embedding, hidden, 2, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.lstm(self.words(tokens))[0][:, -1])
