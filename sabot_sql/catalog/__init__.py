"""Tables: where their rows lie, what is known of them, and how they are cut into splits."""
