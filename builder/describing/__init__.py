"""What is said of an artifact beside its manifest: its bill of materials, and how it came to be."""
