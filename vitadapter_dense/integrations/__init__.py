"""The backbones in other people's frameworks; a module is imported by who uses its framework."""

from __future__ import annotations
