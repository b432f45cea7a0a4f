"""Reading datasets: what they are made of, image by image, and written down whole as versions."""
