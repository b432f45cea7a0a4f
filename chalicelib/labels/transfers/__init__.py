"""Imports and exports of whole datasets: long work, cut into slices that may be done twice."""
