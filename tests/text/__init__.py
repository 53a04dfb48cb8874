"""Tests of the text kernels."""
