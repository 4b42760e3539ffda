"""Results: from run files to tables."""
