"""Policies that are searched for by the returns of whole episodes, without gradients.

`search` draws generations and judges them, `covariance` is the distribution over weights that they are drawn from, and
`searched` says what those weights are: a network over rows or over choices, played by the engine in compiled code.
"""

from sysgym.agents.search.search import Search, SearchSettings

__all__ = ["Search", "SearchSettings"]
