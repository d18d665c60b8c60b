"""What Alembic runs: env.py, and one file in versions/ for each version of the schema."""
