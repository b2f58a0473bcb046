"""Taking a network away: which one, its source, its folder, and the proof that it needs only torch."""
