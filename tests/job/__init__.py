"""Tests of whole jobs, from files to books."""
