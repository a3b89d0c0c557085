"""Runners: what calls plans, many of them or in an order of its own."""
