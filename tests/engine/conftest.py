"""Fixtures of the engine's tests."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def _no_disk_sync(monkeypatch) -> None:
    """No power cut is tested; syncing every toy checkpoint would take most of the time."""
    monkeypatch.setattr(os, 'fsync', lambda descriptor: None)
