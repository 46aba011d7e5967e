"""One evaluation for people: JSON, Markdown, a page that is one file, and a data-set explorer beside it.

What is said is decided in pure functions (``words``, ``charts``, ``view``); ``page`` fills templates and
``files`` writes. Not done here: measuring.
"""

from cloud_tools.evaluation.report.files import EXPLORER, JSON, MARKDOWN, PAGE, Evaluation, write

__all__ = ["EXPLORER", "JSON", "MARKDOWN", "PAGE", "Evaluation", "write"]
