"""What every route shares: how it is declared, how it fails, its document, and the page."""
