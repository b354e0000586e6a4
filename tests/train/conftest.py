"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest
import torch

from tests.training import use_small_network


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Use one thread: two that wait for each other are many times slower on a busy machine."""
    torch.set_num_threads(1)


@pytest.fixture
def small_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train two convolutions instead of ResNet34's 36."""
    use_small_network(monkeypatch)
