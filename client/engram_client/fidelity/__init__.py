"""Students from recordings, and proof of likeness: use cases over any archive, computed where they are asked for."""
