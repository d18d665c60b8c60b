"""Texts: reading tables of prompts, demonstrations and preferences, splitting them, and an invented corpus for tests."""
