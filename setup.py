"""Entry point for building the two import packages; everything declarative is in pyproject.toml."""

from __future__ import annotations

from setuptools import setup

setup()
