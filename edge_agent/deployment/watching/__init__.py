"""A candidate judged by what the line asks: beside the version that answers (SHADOW), then in its place (PROBATION).

``requests`` sees live requests, ``aside`` asks again, ``comparison`` and ``watches`` count, ``guards`` decide.
"""
