"""Everything on one machine: `make run`. Never packaged."""
