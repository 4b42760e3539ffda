"""Claims: what the paper says, judged by tables."""
