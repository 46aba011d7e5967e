"""Layouts of data sets as they are published: what lies in a folder, and what its pictures are.

A layout recognises its folders and names pictures, classes, masks and the split that the
folders give, if they give one. Not done here: parts, splits that are drawn, and what a
method may learn from (``reading``).
"""

from cloud_tools.datasets.layouts.files import NORMAL_NAMES, folder_of, is_normal, pictures_in
from cloud_tools.datasets.layouts.layout import Found, Layout

__all__ = ["NORMAL_NAMES", "Found", "Layout", "folder_of", "is_normal", "pictures_in"]
