"""Prompts, generic texts and questions that ship with Assay: README.md describes, `assay.text.suites` reads them."""
