"""Files that deploy, written, executed and compared."""
