"""Labels: what people say is in an image, and the formats they come in."""
