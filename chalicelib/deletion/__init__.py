"""Deleting what people sent: photos, predictions, submissions and labels, for good."""
