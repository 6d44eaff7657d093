"""One suite for every door: a directory, S3, and the service over gRPC."""
