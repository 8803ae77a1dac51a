"""The paper's tables and claims, and the report page, from recorded results."""
