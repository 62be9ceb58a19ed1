"""Models of torch by name, for `sysgym place NAME`: built on the meta device, so that no weight is allocated."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from sysgym.core.errors import SettingError, require_range

Built = tuple[nn.Module, tuple[torch.Tensor, ...]]


class _LanguageModel(nn.Module):
    """Embedding, learned positions, pre-norm encoder layers, norm, head without bias."""

    def __init__(self, layers: int, width: int, heads: int, vocabulary: int, length: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of every token of the vocabulary, shape (batch, length, vocabulary)."""
        hidden = self.tokens(tokens) + self.positions(torch.arange(tokens.shape[1], device=tokens.device))
        for layer in self.layers:
            hidden = layer(hidden)
        scores: torch.Tensor = self.head(self.norm(hidden))
        return scores


def transformer(
    layers: int = 12, width: int = 768, batch: int = 4, length: int = 256, vocabulary: int = 50_257
) -> Built:
    """A language model of pre-norm transformer layers with heads of 64 features.

    Raises:
        SettingError: A number out of range, or a width that doesn't divide into heads.
    """
    sizes = {"layers": layers, "width": width, "batch": batch, "length": length, "vocabulary": vocabulary}
    for name, value in sizes.items():
        require_range(name, value, 1, whole=True)
    heads = max(1, width // 64)
    if width % heads:
        raise SettingError(f"width is {width}; it must be a multiple of 64, or below 64")
    with torch.device("meta"):
        return _LanguageModel(layers, width, heads, vocabulary, length), (torch.zeros(batch, length, dtype=torch.long),)


def mlp(layers: int = 12, width: int = 768, batch: int = 4, length: int = 256, vocabulary: int = 50_257) -> Built:
    """Linear layers of equal width with ReLU; every token is a sample, the vocabulary is not used."""
    for name, value in {"layers": layers, "width": width, "batch": batch, "length": length}.items():
        require_range(name, value, 1, whole=True)
    with torch.device("meta"):
        parts = [nn.Sequential(nn.Linear(width, width), nn.ReLU()) for _ in range(layers)]
        return nn.Sequential(*parts), (torch.zeros(batch * length, width),)


MODELS: Mapping[str, Callable[..., Built]] = {"transformer": transformer, "mlp": mlp}
"""Models by name."""
