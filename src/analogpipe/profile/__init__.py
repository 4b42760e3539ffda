"""Profiles: the YAML files that say what is run, checked before anything starts. No torch."""
