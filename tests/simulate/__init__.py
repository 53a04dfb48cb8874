"""Tests of the simulated endpoint."""
