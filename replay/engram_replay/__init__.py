"""Replay: running preserved students, exactly."""
