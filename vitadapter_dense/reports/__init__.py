"""What people look at: pictures, progress, tables; and the files that hold them."""

from __future__ import annotations

from vitadapter_dense.reports.class_accuracy import ClassAccuracy
from vitadapter_dense.reports.confusion_matrix import PixelConfusionMatrix
from vitadapter_dense.reports.detection_confusion import DetectionConfusionMatrix
from vitadapter_dense.reports.dump_predictions import DumpPredictions
from vitadapter_dense.reports.frequency_groups import FrequencyGroupsHook
from vitadapter_dense.reports.panoptic_metric import PanopticQuality
from vitadapter_dense.reports.pictures import PredictionPicturesHook
from vitadapter_dense.reports.progress import ProgressBarHook
from vitadapter_dense.reports.prompt_counts import PromptCountsHook
from vitadapter_dense.reports.report_hook import ReportHook
from vitadapter_dense.reports.summary import RunSummaryHook
from vitadapter_dense.reports.tuning_report import TuningReportHook

__all__ = [
    'ClassAccuracy',
    'PixelConfusionMatrix',
    'DetectionConfusionMatrix',
    'DumpPredictions',
    'FrequencyGroupsHook',
    'PanopticQuality',
    'PredictionPicturesHook',
    'ProgressBarHook',
    'PromptCountsHook',
    'ReportHook',
    'RunSummaryHook',
    'TuningReportHook',
]
