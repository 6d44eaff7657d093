"""SeaweedFS for the length of a benchmark: the object store that the tests use too."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from servers import S3Server, running_seaweedfs

__all__ = ["S3Server", "objects", "running_seaweedfs"]


def objects(server: S3Server, prefix: str) -> dict[str, int]:
    """Return the sizes of all objects whose key begins with a prefix."""
    client = boto3.client(
        "s3",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=server.bucket, Prefix=prefix)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}
