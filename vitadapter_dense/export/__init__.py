"""Trained models as files that run without the toolboxes: ONNX, `torch.export`, AOTInductor."""

from __future__ import annotations

from vitadapter_dense.export.exporter import export
from vitadapter_dense.export.programs import ExportError
from vitadapter_dense.export.written import load_package

__all__ = ['ExportError', 'export', 'load_package']
