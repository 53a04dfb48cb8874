"""Tests against servers of other people's making."""
