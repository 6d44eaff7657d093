"""The archive as a service."""
