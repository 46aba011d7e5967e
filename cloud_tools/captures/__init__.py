"""What devices captured: seen in the bucket, and pulled into a data set that ``train`` takes as it is.

::

    source = open_storage("s3://line/captures")
    found = read_captures(source, Wanted(model="unet"))       # records and labels, one capture each
    pull(source, found, Path("data"), PullOptions(kind="classification"), say=print)

Rules of the room: what a person said wins over what a model said; the same captures give the
same data set, wherever and however often they are pulled; the data set is there whole or as it was.
Not done here: drawing masks by hand, judging a data set (the hygiene gate does).
"""
