"""Makes a bucket on the S3-compatible storage at MLFLOW_S3_ENDPOINT_URL, unless it is there: `make_bucket.py NAME`."""

import os
import sys

import boto3

storage = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if sys.argv[1] not in [bucket["Name"] for bucket in storage.list_buckets()["Buckets"]]:
    storage.create_bucket(Bucket=sys.argv[1])
