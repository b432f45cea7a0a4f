"""Everything a Sightloop Lambda runs."""
