"""Which trained models there are, which of them a person approved, and how far each has come.

MLflow keeps runs, figures, files and versions (``mlflow_store`` is its one door); what a version
has been through stands in its tags. Nothing here holds a signing key: an approved version becomes
an unsigned bundle, somebody with the keys publishes it, and only then does ``watch`` roll it out.
"""
