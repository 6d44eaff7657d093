"""Every use case once, without transport."""
