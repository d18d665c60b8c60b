"""The versions of the schema, in order; a version that was released is never changed."""
