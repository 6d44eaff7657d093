"""The demonstration: the main job on real data that ships with the project."""
