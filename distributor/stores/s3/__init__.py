"""Stores in buckets of S3, through boto3."""
