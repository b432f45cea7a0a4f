"""Two versions of a model side by side: what each measured, and images on which they differ."""
