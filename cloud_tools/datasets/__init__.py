"""Labelled pictures: reading layouts, splitting by part, the hygiene gate, the sample line."""

from cloud_tools.datasets.dataset import Dataset, DatasetError, Sample, Split
from cloud_tools.datasets.hygiene import Finding, Level, inspect_dataset
from cloud_tools.datasets.reading import categories, read

__all__ = [
    "Dataset",
    "DatasetError",
    "Finding",
    "Level",
    "Sample",
    "Split",
    "categories",
    "inspect_dataset",
    "read",
]
