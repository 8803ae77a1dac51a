"""The paper's networks: definitions, weights files, surgery, export."""
