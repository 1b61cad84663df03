"""Databases and servers that tests of ledger and store ask for; what is not installed skips its tests with the reason."""

from databases import database
from postgres import own_postgres, postgres
from s3 import s3, s3_server

__all__ = ["database", "own_postgres", "postgres", "s3", "s3_server"]
