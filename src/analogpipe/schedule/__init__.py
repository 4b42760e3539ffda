"""Schedules: who does what at which clock, and what follows from it. No torch."""
