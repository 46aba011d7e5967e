"""Labelled pictures: reading layouts, splitting by part, the hygiene gate, the sample line."""

from cloud_tools.datasets.anomaly_layout import read_anomaly
from cloud_tools.datasets.dataset import Dataset, DatasetError, Sample, Split
from cloud_tools.datasets.hygiene import Finding, Level, inspect_dataset
from cloud_tools.datasets.layouts import read_classification, read_segmentation

__all__ = [
    "Dataset",
    "DatasetError",
    "Finding",
    "Level",
    "Sample",
    "Split",
    "inspect_dataset",
    "read_anomaly",
    "read_classification",
    "read_segmentation",
]
