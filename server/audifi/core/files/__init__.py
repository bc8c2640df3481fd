"""Files in an object storage with S3's API."""
